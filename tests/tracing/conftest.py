"""Durable jobs on a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hardpoint.db import open_database
from hardpoint.jobs.durable import migrate
from support.jobs import Base, Bench


@pytest.fixture
async def bench(database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    await migrate(database_url)
    async with open_database(database_url) as database:
        await database.create_tables(Base.metadata)
        yield Bench(database, database_url, tmp_path)
