"""Schema migrations by Alembic, run from code: its own command line has no connection for them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hardpoint.db.session import TranslatedErrors

__all__ = ["Migrations", "OtherTables", "UnknownRevision", "run_migrations"]

T = TypeVar("T")

_LOCK_KEY = 0x68617264706F696E  # "hardpoin": one migration at a time on a PostgreSQL server's database.
_alembic: Final = threading.Lock()
_AGAIN_SECONDS: Final = 0.05


class UnknownRevision(Exception):
    """The database has the schema of a newer version, which this one cannot read, let alone upgrade.

    Attributes:
        revision: The schema's revision.
    """

    def __init__(self, revision: str) -> None:
        super().__init__(f"The database's schema, {revision}, is newer than this version")
        self.revision = revision


@dataclass(frozen=True, slots=True)
class OtherTables:
    """Tables that a library keeps in the same database and migrates itself, such as those of durable jobs.

    Attributes:
        upgrade: Brings them to what the library needs.
        is_current: Whether they are that already.
    """

    upgrade: Callable[[URL], Awaitable[None]]
    is_current: Callable[[URL], Awaitable[bool]]


class Migrations:
    """The migrations in one Alembic script folder.

    Args:
        folder: The folder with `env.py` (which calls `run_migrations`) and `versions/`.
        *beside: What is upgraded after them, and has to be current too.
    """

    def __init__(self, folder: Path, *beside: OtherTables) -> None:
        self._beside = beside
        self._config = Config()
        # The option is a template in which a per cent sign is special.
        self._config.set_main_option("script_location", str(folder).replace("%", "%%"))

    def head(self) -> str:
        """The newest revision that the folder has."""
        head = ScriptDirectory.from_config(self._config).get_current_head()
        if head is None:
            raise ValueError("The migrations folder has no revision")
        return head

    async def current(self, engine: AsyncEngine) -> str | None:
        """The revision of the database, `None` for an empty one.

        Raises:
            ServiceUnavailable: The database cannot be reached.
        """
        with TranslatedErrors():
            async with engine.connect() as connection:
                return await connection.run_sync(_revision)

    async def is_current(self, engine: AsyncEngine) -> bool:
        """Whether the database has the newest revision, and all that stands beside it is current."""
        if await self.current(engine) != self.head():
            return False
        return all([await other.is_current(engine.url) for other in self._beside])

    async def require_known(self, engine: AsyncEngine) -> None:
        """Look whether the folder has the database's revision.

        Raises:
            ServiceUnavailable: The database cannot be reached.
            UnknownRevision: It does not; the database belongs to a newer version.
        """
        revision = await self.current(engine)
        known = {script.revision for script in ScriptDirectory.from_config(self._config).walk_revisions()}
        if revision is not None and revision not in known:
            raise UnknownRevision(revision)

    async def upgrade(self, engine: AsyncEngine, revision: str = "head") -> None:
        """Bring the database to `revision`: all of it or, when a migration fails, nothing.

        Two processes that upgrade at once do not clash: one waits and finds the work done. Within one process
        databases are migrated one after the other.

        Raises:
            ServiceUnavailable: The database cannot be reached.
            UnknownRevision: The database has a revision that the folder does not.
        """
        await self.require_known(engine)
        await self._run(engine, lambda config: command.upgrade(config, revision))
        for other in self._beside:
            await other.upgrade(engine.url)

    async def downgrade(self, engine: AsyncEngine, revision: str) -> None:
        """Take the database back to `revision`, or to nothing with `base`."""
        await self._run(engine, lambda config: command.downgrade(config, revision))

    async def check(self, engine: AsyncEngine) -> None:
        """Compare the database with the models.

        Raises:
            alembic.util.CommandError: They differ; a migration is missing.
        """
        await self._run(engine, command.check)

    async def _run(self, engine: AsyncEngine, action: Callable[[Config], Any]) -> None:
        def with_connection(connection: Connection) -> None:
            self._config.attributes["connection"] = connection
            try:
                action(self._config)
            finally:
                del self._config.attributes["connection"]

        with TranslatedErrors():
            async with _alone(), engine.connect() as connection:
                try:
                    await _lock(connection)
                    await connection.run_sync(with_connection)
                    await connection.commit()
                finally:
                    await connection.rollback()
                    await _unlock(connection)


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Alembic's `context` and `op` are the process's: two databases at once would get each other's migrations."""
    while not _alembic.acquire(blocking=False):  # noqa: ASYNC110 - what asyncio has belongs to one loop.
        await asyncio.sleep(_AGAIN_SECONDS)
    try:
        yield
    finally:
        _alembic.release()


async def _lock(connection: AsyncConnection) -> None:
    if connection.dialect.name == "sqlite":
        # Table rebuilds of batch migrations would trip over references; the pragma works outside of a transaction only.
        await connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


async def _unlock(connection: AsyncConnection) -> None:
    if connection.dialect.name == "sqlite":
        # The connection goes back to the pool.
        await connection.exec_driver_sql("PRAGMA foreign_keys = ON")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def run_migrations(metadata: MetaData) -> None:
    """What a script folder's `env.py` calls: migrate on the connection that `Migrations` opened.

    Args:
        metadata: The models' metadata, for autogeneration and for checks.

    Raises:
        RuntimeError: Alembic was started from its own command line or in offline mode.
    """
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("Run these migrations by hardpoint.db.migrations.Migrations, which brings the connection")
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter a table; batch mode makes a new one and moves the rows.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        transactional_ddl=True,
    )
    # No begin_transaction: the caller's transaction holds the lock and is committed there.
    context.run_migrations()
