"""`hardpoint keys create`."""

import asyncio
from datetime import UTC, datetime, timedelta

import click
from pydantic import ValidationError

from hardpoint.cli.group import fail
from hardpoint.cli.loading import faults_told, prepare_database, settings_or_exit
from hardpoint.cli.target import service

__all__ = ["command"]


@click.group("keys")
def command() -> None:
    """API keys of the service."""


@command.command("create")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--scope", "scopes", required=True, multiple=True, help="What it may do; more than once for more.")
@click.option("--expires-days", type=click.IntRange(1, 36_500), help="After how many days it ends; never by default.")
def create(name: str, scopes: tuple[str, ...], expires_days: int | None) -> None:
    """Make an API key and print it, this once: only its digest is kept."""
    with faults_told():
        click.echo(asyncio.run(_create(name, list(scopes), expires_days)))


async def _create(name: str, scopes: list[str], expires_days: int | None) -> str:
    from hardpoint.auth import NewApiKey
    from hardpoint.db import Database
    from hardpoint.ratelimit import MemoryLimiter

    settings = settings_or_exit()
    ends = None if expires_days is None else (datetime.now(UTC) + timedelta(days=expires_days)).isoformat()
    try:
        new = NewApiKey.model_validate({"name": name, "scopes": scopes, "expires_at": ends})
    except ValidationError as error:
        fail([f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors(include_input=False)], status=1)
    await prepare_database(settings)
    async with service().open_engine(settings) as engine:
        auth = service().make_auth(settings, MemoryLimiter(is_per_process=True))
        async with Database(engine).session() as session:
            _, text = await auth.api_keys.create(session, name=new.name, scopes=new.scopes, expires_at=new.expires_at)
            return text
