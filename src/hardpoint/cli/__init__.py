"""The `hardpoint` command. Each subcommand is a module of its own, imported when it is called."""

import sys

from hardpoint import __version__

__all__ = ["main"]


def main() -> None:
    """Run the command line in `sys.argv`; exits with 0, with 1 for a failure, with 2 for wrong usage or settings."""
    if sys.argv[1:] == ["--version"]:
        # Answered before anything is imported, and also where no extra is installed.
        print(f"hardpoint {__version__}")
        return
    try:
        from hardpoint.cli.group import cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The commands need the extra 'serve': pip install 'hardpoint[serve]'")
    cli(prog_name="hardpoint")
