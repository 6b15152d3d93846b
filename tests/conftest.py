"""What every test may use. The servers are real, started when a test first asks, and stopped at the end of the run."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from support.servers import PostgresServer, ValkeyServer

# Folders in which a service or a project is made for all tests together.
_SHARING_FOLDERS: Final = {"contract", "new"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep together, on one of several workers, the tests that share what takes seconds to start.

    Each worker would otherwise start a service of its own for the same module, which had taken a fifth of the attacks.
    """
    if not config.getoption("loadgroup", default=False):
        return
    for item in items:
        if (group := _group_of(item)) is not None:
            # pytest-xdist 3.8 writes this where pytest 9.2 no longer looks, and its groups do nothing, without a word
            # (pytest-dev/pytest-xdist#1386). Twice is as good as once, should a later version write it too.
            item._id = item.id.parse(f"{item.nodeid}@{group}")


def _group_of(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("xdist_group")
    if mark is not None:
        return str(mark.args[0])
    folder, module = item.path.parent, item.nodeid.partition("::")[0]
    group = folder.name if folder.name in _SHARING_FOLDERS else module if _shares_with_its_module(item) else None
    if group is None:
        return None
    # Where they run on two databases each has a service of its own.
    parameters: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return f"{group}-{parameters.get('service', '')}"


def _shares_with_its_module(item: pytest.Item) -> bool:
    known = getattr(item, "_fixtureinfo", None)
    return known is not None and any(
        definitions[-1].scope == "module" for definitions in known.name2fixturedefs.values()
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer.started() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_of_the_run() -> Iterator[ValkeyServer]:
    """A running Valkey for services that many tests share: nobody empties it."""
    with ValkeyServer.started() as server:
        yield server


@pytest.fixture(scope="session")
def _valkey_of_one_at_a_time() -> Iterator[ValkeyServer]:
    with ValkeyServer.started() as server:
        yield server


@pytest.fixture
def valkey(_valkey_of_one_at_a_time: ValkeyServer) -> ValkeyServer:
    """A running Valkey, empty, of which nobody else knows."""
    _valkey_of_one_at_a_time.command("FLUSHALL")
    return _valkey_of_one_at_a_time


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
