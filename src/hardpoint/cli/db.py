"""`hardpoint db upgrade` and `hardpoint db current`."""

import asyncio

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import faults_told, settings_or_exit
from hardpoint.cli.target import service, target

__all__ = ["command"]


@click.group("db")
def command() -> None:
    """Schema migrations of the service's database."""


@command.command("upgrade")
def upgrade() -> None:
    """Bring the schema to the newest revision."""
    with faults_told():
        click.echo(asyncio.run(_upgrade()))


@command.command("current")
def current() -> None:
    """Print the schema's revision; exits with 1 when it is not the newest."""
    with faults_told():
        revision, head = asyncio.run(_current())
    click.echo(revision or "empty")
    if revision != head:
        fail(f"The newest revision is {head}. Run: {target().name} db upgrade", status=1)


async def _upgrade() -> str:
    migrations = service().migrations()
    async with service().open_engine(settings_or_exit()) as engine:
        await migrations.upgrade(engine)
        return await migrations.current(engine) or "empty"


async def _current() -> tuple[str | None, str]:
    migrations = service().migrations()
    async with service().open_engine(settings_or_exit()) as engine:
        await migrations.require_known(engine)
        return await migrations.current(engine), migrations.head()
