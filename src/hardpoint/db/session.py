"""Sessions: one for each request, committed before the answer claims success, and separate ones for other work."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from traceback import walk_tb
from types import TracebackType
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends
from sqlalchemy import URL, MetaData, QueuePool, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, AsyncSession
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import DEFAULT_STATE_ATTR
from sqlalchemy.orm.exc import StaleDataError
from starlette.requests import HTTPConnection

from hardpoint.arguments import check_argument
from hardpoint.db.engine import create_engine
from hardpoint.errors import Conflict, ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.resolving import link
from hardpoint.scope import of_lifespan

__all__ = ["Database", "LazySession", "PoolUsage", "Session", "open_database", "session"]

T = TypeVar("T")

logger = get_logger("hardpoint.db")

_RETRY_SECONDS: Final = 1
# PostgreSQL's classes of errors: a transaction that was rolled back, as by a deadlock; resources that are exhausted; an
# operator's or a time limit's intervention; its system's own faults.
_GIVEN_UP: Final = {"40", "53", "57", "58"}
_LOCK_NOT_AVAILABLE: Final = "55P03"
# Of a row, in C: every request that has one asks at its end.
_is_modified: Final = attrgetter(f"{DEFAULT_STATE_ATTR}.modified")


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """A pool of connections at one moment.

    Attributes:
        open: Connections that are open.
        checked_out: How many of them are in use.
        limit: How many there may be.
    """

    open: int
    checked_out: int
    limit: int


class LazySession(AsyncSession):
    """An `AsyncSession` that is made when it is first used.

    A request that is refused, or answered from a cache, then pays nothing for the session that its route asks for:
    making, committing and closing one that was never used costs 70 microseconds.

    Args:
        engine: Where its connections come from.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._taken_in: dict[Any, Any] = {}

    @property
    def is_used(self) -> bool:
        """Whether it has been made, or has to be because a row that it took in was changed."""
        return "sync_session" in self.__dict__ or any(map(_is_modified, self._taken_in.values()))

    def take_in(self, row: T) -> T:
        """Make a row that another session has read, and that is detached now, one of this session's, without a query.

        Returns:
            The row, or the one that this session already has for the same identity.
        """
        key: Any = instance_state(row).key
        # Rows that can await their attributes have no other way to ask for their session.
        if "sync_session" in self.__dict__ or isinstance(row, AsyncAttrs):
            known: T | None = self.sync_session.identity_map.get(key)
            # What this session has may have been changed, which a merge would undo.
            is_whole = known is not None and not instance_state(known).expired
            return known if known is not None and is_whole else self.sync_session.merge(row, load=False)
        taken: T = self._taken_in.setdefault(key, row)
        return taken

    def __getattr__(self, name: str) -> Any:
        # What SQLAlchemy's own `__init__` sets is looked for when something is first asked of the session.
        if name not in {"sync_session", "_proxied"}:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # Rows stay readable after the commit, for the answer that is written then.
        super().__init__(self._engine, expire_on_commit=False)
        for row in self._taken_in.values():
            self.sync_session.add(row)
        return self.__dict__[name]


class Database:
    """An engine and its sessions.

    Args:
        engine: The engine; whoever made it disposes of it.

    Raises:
        TypeError: It is no `AsyncEngine`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        check_argument("engine", engine, AsyncEngine, "create_engine(url), and open_database(url) takes a URL")
        self.engine = engine

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session of its own: committed when the block ends, rolled back when it raises.

        For whatever is not a request: jobs, scheduled work, WebSocket messages, scripts. Every call is another session.

        Raises:
            ServiceUnavailable: The database cannot be reached, its pool is exhausted, or it stays locked.
            Conflict: A constraint was violated and the block did not handle that, or a row that it changed was deleted
                meanwhile, or changed, if it has a `version_id_col`.
        """
        return _SessionBlock(self.engine)

    async def ping(self) -> None:
        """Run a query that needs nothing but the database; a health check.

        Raises:
            ServiceUnavailable: It did not answer.
        """
        with TranslatedErrors():
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    def pool_usage(self) -> PoolUsage | None:
        """How far the pool is used; `None` for a database in memory, which has one connection and no pool."""
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            return None
        used = pool.checkedout()
        return PoolUsage(open=pool.checkedin() + used, checked_out=used, limit=pool.size() + pool._max_overflow)  # noqa: SLF001 - it tells the size alone.

    async def create_tables(self, metadata: MetaData) -> None:
        """Create the tables that are not there yet. For tests and first steps; migrations change what is there."""
        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)


class _SessionBlock(AbstractAsyncContextManager[AsyncSession]):
    """The block of `Database.session`. As a generator it cost twice as much, and most requests do not use theirs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._session = LazySession(engine)

    async def __aenter__(self) -> AsyncSession:
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._session
        if error is None and not session.is_used:
            return
        translated = TranslatedErrors()
        try:
            if error is not None:
                translated.__exit__(kind, error, trace)
            else:
                with translated:
                    await session.commit()
        finally:
            if session.is_used:
                # SQLAlchemy's own end, which a cancellation does not cut short.
                await session.__aexit__(None, None, None)


class TranslatedErrors:
    """Turns what a database raises into hardpoint's errors.

    409 for a violated constraint and for a row that others have deleted or changed meanwhile, 503 for an outage.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, IntegrityError):
            logger.warning("constraint_violated", error=type(error.orig).__name__)
            raise Conflict from error
        if isinstance(error, StaleDataError):
            logger.warning("row_changed_meanwhile")
            raise Conflict from error
        if error is not None and _is_outage(error):
            cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
            logger.error("database_unavailable", error=type(cause).__name__)
            raise ServiceUnavailable("The database is not available", retry_after_seconds=_RETRY_SECONDS) from error


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return (
            (isinstance(error, OperationalError | InterfaceError) and not _is_a_wrong_statement(error))
            or error.connection_invalidated
            or error.statement is None
            or _is_to_be_tried_again(getattr(error.orig, "sqlstate", None))
        )
    # Drivers let errors of the network through, and the block may have some of its own.
    return isinstance(error, PoolTimeoutError) or (isinstance(error, OSError) and _is_of_sqlalchemy(error))


def _is_to_be_tried_again(sqlstate: str | None) -> bool:
    """Whether the server gave the statement up; psycopg calls that an `OperationalError`, asyncpg an error like any."""
    return sqlstate is not None and (sqlstate[:2] in _GIVEN_UP or sqlstate == _LOCK_NOT_AVAILABLE)


def _is_of_sqlalchemy(error: BaseException) -> bool:
    """Whether the error, or the wait that a time limit ended with it, came out of SQLAlchemy."""
    return any(
        str(frame.f_globals.get("__name__")).startswith("sqlalchemy.")
        for one in (error, error.__cause__)
        if one is not None
        for frame, _ in walk_tb(one.__traceback__)
    )


def _is_a_wrong_statement(error: DBAPIError) -> bool:
    # SQLite's driver has one class for an outage and for a table that is missing, which no waiting makes.
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


@asynccontextmanager
async def open_database(url: str | URL, **options: Any) -> AsyncIterator[Database]:
    """A `Database` for `url` whose engine is disposed of at the end; see `create_engine` for the options.

    As a resource: `Resource("database", lambda _: open_database(url), check=Database.ping)`.
    """
    engine = create_engine(url, **options)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()


async def get_database(connection: HTTPConnection) -> Database:
    """The `Database` that the lifespan opened under the name `database`."""
    database: Database = of_lifespan(connection.scope, "database")
    return database


async def session(connection: HTTPConnection) -> AsyncSession:
    """The session of this request; see `Session`."""
    database = await link(connection, get_database, connection)
    # As FastAPI does with a generator in the scope "function", for a fifth of the price.
    stack: AsyncExitStack = connection.scope["fastapi_function_astack"]
    return await stack.enter_async_context(database.session())


Session = Annotated[AsyncSession, Depends(session, scope="function")]
"""The session of this request, one and the same for its route and all of its dependencies.

`scope="function"` makes FastAPI end it when the route function has returned and before the response is sent: a commit
that fails is an error for the client, not a success that did not happen. An exception rolls back, whatever its status;
what must stay although the answer is an error is committed by hand before raising. FastAPI refuses a dependency with
`yield` that uses this one and has no `scope="function"` itself, since it would outlive the session.
"""
