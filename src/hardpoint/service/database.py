"""The service's database: its options, its engine for commands, its migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hardpoint.db import create_engine
from hardpoint.db.migrations import (
    Migrations,
    OtherTables,  # new: jobs
)
from hardpoint.jobs.durable import is_migrated, migrate  # new: jobs
from sqlalchemy.ext.asyncio import AsyncEngine

from hardpoint.service.embedded import prepare_folder  # new: sqlite
from hardpoint.service.settings import Settings

__all__ = ["migrations", "open_engine", "pool_options"]


def pool_options(settings: Settings) -> dict[str, Any]:
    """What the settings say of the pool of connections, for `create_engine` and `open_database`."""
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": settings.database_max_overflow,
        "pool_timeout_seconds": settings.database_pool_timeout,
        "connect_timeout_seconds": settings.database_connect_timeout,
    }


@asynccontextmanager
async def open_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The database's engine, for a command."""
    prepare_folder(settings)  # new: sqlite
    engine = create_engine(settings.resolved_database_url, **pool_options(settings))
    try:
        yield engine
    finally:
        await engine.dispose()


def migrations() -> Migrations:
    """The service's schema migrations."""
    return Migrations(
        Path(__file__).parent / "migrations",
        OtherTables(upgrade=migrate, is_current=is_migrated),  # new: jobs
    )
