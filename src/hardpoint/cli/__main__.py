"""`python -m hardpoint.cli`."""

from hardpoint.cli import main

if __name__ == "__main__":
    main()
