"""`hardpoint users create`."""

import asyncio
import sys

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import faults_told, prepare_database, settings_or_exit
from hardpoint.cli.target import service
from hardpoint.errors import ValidationFailed

__all__ = ["command"]


@click.group("users")
def command() -> None:
    """Accounts of the service."""


@command.command("create")
@click.option("--email", required=True, help="The account's address.")
@click.option("--role", default="user", show_default=True, help="user, editor or admin.")
@click.option("--name", default=None, help="The user's name.")
def create(email: str, role: str, name: str | None) -> None:
    """Make a verified account, with a password from a prompt or from standard input; print its id."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        with faults_told():
            click.echo(asyncio.run(_create(email, password, role, name)))
    except ValidationFailed as error:
        fail([f"{field.field}: {field.message}" for field in error.field_errors], status=1)


async def _create(email: str, password: str, role: str, name: str | None) -> int:
    from hardpoint.db import Database
    from hardpoint.ratelimit import MemoryLimiter

    settings = settings_or_exit()
    account = service().NewAccount.parse(email=email, role=role, name=name)
    await prepare_database(settings)
    async with service().open_engine(settings) as engine:
        auth = service().make_auth(settings, MemoryLimiter(is_per_process=True))
        async with Database(engine).session() as session:
            user = await auth.create_user(
                session, email=account.email, password=password, role=account.role, name=account.name
            )
            return int(user.id)
