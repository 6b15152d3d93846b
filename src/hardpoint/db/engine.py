"""An async engine with the settings that a service needs on each back end."""

import sqlite3
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import URL, Connection, StaticPool, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hardpoint.db.liveness import check_before_use
from hardpoint.db.locks import begin_writing

__all__ = ["create_engine"]

_ASYNCPG: Final = "asyncpg"
_EXTRAS: Final = {"aiosqlite": "sql", "asyncpg": "postgres"}
_BUSY_MILLISECONDS: Final = 5_000
_SHORTEST_SECONDS: Final = 0.001


def create_engine(
    url: str | URL,
    *,
    pool_size: int = 10,
    max_overflow: int = 5,
    pool_timeout_seconds: float = 3.0,
    pool_recycle_seconds: int = 1_800,
    connect_timeout_seconds: int = 5,
    statement_timeout_seconds: float | None = None,
    echo: bool = False,
) -> AsyncEngine:
    """An async engine for `url`; nothing connects yet. Whoever calls disposes of it.

    SQLite: write-ahead log, foreign keys on, waiting for locks up to 5 seconds, and `synchronous=NORMAL`: what is
    committed survives the death of the process; the last commits before a power failure may be lost, the file is whole.

    PostgreSQL: a connection that is gone is never handed out, so that a restarted database costs no failed request, and
    an exhausted pool fails after `pool_timeout_seconds`, which `hardpoint.db.session` answers with a 503.

    A statement is never repeated: one whose answer was lost may have been done. What does not answer at all is given up
    when the task that waits for it is, as by a request's or a job's time limit.

    Statements' parameters are kept out of errors and logs, because they hold addresses, hashes and tokens.

    Args:
        url: A SQLAlchemy URL with an async driver, such as `postgresql+asyncpg://` or `sqlite+aiosqlite:///file`.
        pool_size: Connections that stay open; 1 or more.
        max_overflow: Connections beyond those under load; 0 or more.
        pool_timeout_seconds: How long to wait for a free connection.
        pool_recycle_seconds: The age at which a connection is replaced.
        connect_timeout_seconds: PostgreSQL: how long connecting may take; 2 or more.
        statement_timeout_seconds: PostgreSQL: after which the server cancels a statement; `None` for its own setting.
            Migrations take as long as they take, so give them an engine without.
        echo: Whether to log statements.

    Raises:
        ValueError: The URL cannot be read, or its driver is missing or not async; names the extra to install. Or a
            number is out of its range.
    """
    # SQLAlchemy takes a size of 0 and an overflow of -1 for no limit, and PostgreSQL a time-out of 0 for none.
    if pool_size < 1 or connect_timeout_seconds < 1:
        raise ValueError("pool_size and connect_timeout_seconds must be at least 1")
    if max_overflow < 0 or not pool_timeout_seconds >= 0:
        raise ValueError("max_overflow and pool_timeout_seconds must not be negative")
    if statement_timeout_seconds is not None and not statement_timeout_seconds >= _SHORTEST_SECONDS:
        raise ValueError("statement_timeout_seconds must be a thousandth or more; None is the server's own setting")
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("The database URL cannot be read; write driver://user:password@host/name") from None
    options: dict[str, Any] = {"echo": echo, "hide_parameters": True}
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database in {None, "", ":memory:"}:
        # Every connection to a memory database is a database of its own.
        options["poolclass"] = StaticPool
    else:
        options |= {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "pool_timeout": pool_timeout_seconds,
            "pool_recycle": pool_recycle_seconds,
            "pool_pre_ping": not is_sqlite and parsed.get_driver_name() != _ASYNCPG,
        }
    if parsed.get_backend_name() == "postgresql":
        options["connect_args"] = _postgresql_options(
            parsed.get_driver_name(), connect_timeout_seconds, statement_timeout_seconds
        )
    try:
        engine = create_async_engine(parsed, **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        driver = parsed.get_driver_name() if isinstance(error, ModuleNotFoundError) else parsed.drivername
        hint = f"; install 'hardpoint[{_EXTRAS[driver]}]'" if driver in _EXTRAS else ""
        raise ValueError(f"The database driver {driver!r} is not installed{hint}") from None
    except Exception as error:
        if type(error).__name__ != "InvalidRequestError":
            raise
        raise ValueError(f"The database driver of {parsed.drivername!r} is not an async one") from None
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "savepoint", _begin)
    elif parsed.get_driver_name() == _ASYNCPG:
        check_before_use(engine)
    return engine


def _postgresql_options(driver: str, connect_seconds: int, statement_seconds: float | None) -> dict[str, Any]:
    server = {} if statement_seconds is None else {"statement_timeout": str(round(statement_seconds * 1_000))}
    if driver == _ASYNCPG:
        return {"timeout": connect_seconds, "server_settings": server}
    options = " ".join(f"-c {name}={value}" for name, value in server.items())
    return {"connect_timeout": connect_seconds, **({"options": options} if options else {})}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor: sqlite3.Cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        # Not while another connection does the same, which SQLite refuses without waiting; it is the file's, so once is
        # enough.
        with suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _begin(connection: Connection, _savepoint: str) -> None:
    # Releasing one without a transaction around it would commit.
    begin_writing(connection)
