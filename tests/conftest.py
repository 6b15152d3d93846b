"""What every test may use. The servers are real, started when a test first asks, and stopped at the end of the run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.servers import PostgresServer, ValkeyServer


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer.started() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_of_the_run() -> Iterator[ValkeyServer]:
    with ValkeyServer.started() as server:
        yield server


@pytest.fixture
def valkey(valkey_of_the_run: ValkeyServer) -> ValkeyServer:
    """A running Valkey, empty."""
    valkey_of_the_run.command("FLUSHALL")
    return valkey_of_the_run


@pytest.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The asyncpg URL of a fresh, empty database."""
    async with postgres_server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of each kind, one after the other."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
