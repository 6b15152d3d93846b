"""The `hardpoint` command. Each subcommand is a module of its own, imported when it is called.

`service_command` is what a project of `hardpoint new` makes its own command with.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import version

from hardpoint import __version__

__all__ = ["main", "service_command"]


def main() -> None:
    """Run the command line in `sys.argv`; exits with 0, with 1 for a failure, with 2 for wrong usage or settings."""
    if sys.argv[1:] == ["--version"]:
        # Answered before anything is imported, and also where no extra is installed.
        print(f"hardpoint {__version__}")
        return
    try:
        from hardpoint.cli.group import hardpoint_group
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The commands need the extra 'serve': pip install 'hardpoint[serve]'")
    hardpoint_group()(prog_name="hardpoint")


def service_command(package: str, *, commands: Iterable[str]) -> None:
    """Run the command line of a service of your own, which reads `sys.argv` and exits as `main` does.

    Args:
        package: The service's package, which has the names of `hardpoint.service`; also the command's name, that of
            the installed distribution, and what `python -m` runs.
        commands: Which of hardpoint's commands it has, such as `serve`, `db`, `users`; each works on this service.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"{package} {version(package)}")
        return
    from hardpoint.cli.group import service_group

    service_group(package, commands)(prog_name=package)
