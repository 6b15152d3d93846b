"""The command groups, which find a subcommand's module by its name and import no other."""

import logging
from collections.abc import Iterable, Mapping
from copy import copy
from importlib import import_module
from importlib.metadata import version
from typing import Final, NoReturn

import click

from hardpoint.cli.target import HARDPOINT, Target

__all__ = ["fail", "hardpoint_group", "service_group"]

# What only hardpoint itself has, and what every service may have; by name, as the help lists them.
_OWN: Final = {
    "new": "A project of one's own, made of the reference service",
    "skill": "What a coding agent should know, put where it looks",
}
_SERVICE: Final = {
    "db": "Schema migrations",
    "dev": "The service on a real PostgreSQL and a real Valkey, from wheels",
    "jobs": "Durable jobs: list, show, retry, cancel",
    "keys": "API keys",
    "openapi": "The OpenAPI document, or what of it breaks clients of an older one",
    "serve": "Serve the service",
    "stack": "The middleware stack, outermost first, and what is wrong with it",
    "users": "Accounts",
    "worker": "Run durable jobs in a process of their own",
}


class _LazyGroup(click.Group):
    def __init__(self, target: Target, summaries: Mapping[str, str], help: str) -> None:  # noqa: A002 - click's word.
        show_version = click.version_option(target.version, message=f"{target.name} %(version)s")
        super().__init__(target.name, help=help, context_settings={"obj": target}, callback=_prepare)
        show_version(self)
        self._summaries = dict(sorted(summaries.items()))
        self._takes_apps = target == HARDPOINT

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries:
            return None
        command: click.Command = import_module(f"hardpoint.cli.{cmd_name}").command
        return command if self._takes_apps else _of_one_service(command, self._summaries[cmd_name])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import every command to read its help.
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))


def _prepare() -> None:
    # A command says what is wrong in its own words; `serve` and `worker` configure the log.
    logging.getLogger("hardpoint").addHandler(logging.NullHandler())


def _of_one_service(command: click.Command, summary: str) -> click.Command:
    """A command that has no choice of application."""
    if not any(parameter.name == "app" for parameter in command.params):
        return command
    command = copy(command)
    command.params = [parameter for parameter in command.params if parameter.name != "app"]
    command.help = f"{summary}."
    return command


def hardpoint_group() -> click.Group:
    """The commands of `hardpoint`, for the reference service or any application."""
    summaries = _OWN | _SERVICE | {"serve": "Serve the reference service, or any module:app"}
    return _LazyGroup(
        HARDPOINT, summaries, "Everything a FastAPI service needs between app = FastAPI() and production."
    )


def service_group(package: str, commands: Iterable[str]) -> click.Group:
    """The commands of a service of a user's own; see `hardpoint.cli.service_command`."""
    target = Target(name=package, version=version(package), package=package, module=package)
    return _LazyGroup(target, {name: _SERVICE[name] for name in commands}, f"The service {package}.")


def fail(lines: str | list[str], *, status: int) -> NoReturn:
    """Print each line on standard error and exit with `status`."""
    for line in [lines] if isinstance(lines, str) else lines:
        click.echo(line, err=True)
    raise click.exceptions.Exit(status)
