"""The command group, which finds a subcommand's module by its name and imports no other."""

import logging
from importlib import import_module
from typing import Final, NoReturn

import click

from hardpoint import __version__

__all__ = ["cli", "fail"]

_COMMANDS: Final = {
    "db": "Schema migrations",
    "dev": "The reference service on a real PostgreSQL and a real Valkey, from wheels",
    "jobs": "Durable jobs: list, show, retry, cancel",
    "keys": "API keys",
    "openapi": "The OpenAPI document, or what of it breaks clients of an older one",
    "serve": "Serve the reference service, or any module:app",
    "skill": "What a coding agent should know, put where it looks",
    "stack": "The middleware stack, outermost first, and what is wrong with it",
    "users": "Accounts",
    "worker": "Run durable jobs in a process of their own",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"hardpoint.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import every command to read its help.
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup)
@click.version_option(__version__, message="hardpoint %(version)s")
def cli() -> None:
    """Everything a FastAPI service needs between app = FastAPI() and production."""
    # A command says what is wrong in its own words; `serve` and `worker` configure the log.
    logging.getLogger("hardpoint").addHandler(logging.NullHandler())


def fail(lines: str | list[str], *, status: int) -> NoReturn:
    """Print each line on standard error and exit with `status`."""
    for line in [lines] if isinstance(lines, str) else lines:
        click.echo(line, err=True)
    raise click.exceptions.Exit(status)
