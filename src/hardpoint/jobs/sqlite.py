"""DBOS on a SQLite before 3.42, such as Debian 12's.

From Python 3.12 on it asks SQLite for the time in a word that comes with 3.42, and an older one answers with NULL:
nothing could be enqueued, and no worker start.
"""

import sqlite3
from typing import Final

from dbos._sys_db_sqlite import SQLiteSystemDatabase
from sqlalchemy import BigInteger, ColumnElement, cast, create_engine, func

__all__ = ["is_old", "mend_defaults", "sqlite_now", "teach_the_time"]

_KNOWS_THE_WORD: Final = (3, 42)
_UNKNOWN: Final = "unixepoch('subsec') * 1000"
_KNOWN: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def sqlite_now() -> ColumnElement[int]:
    """Milliseconds since the epoch by SQLite's clock, in words that every version knows."""
    return cast((func.julianday("now") - 2_440_587.5) * 86_400_000, BigInteger)


def is_old() -> bool:
    """Whether this process's SQLite does not know the word."""
    return sqlite3.sqlite_version_info < _KNOWS_THE_WORD


def teach_the_time() -> None:
    """Let DBOS ask an old SQLite in words that it knows."""
    if is_old():
        # There is no setting for it.
        SQLiteSystemDatabase._now_ms_sql = lambda self: sqlite_now()  # type: ignore[method-assign] # noqa: ARG005, SLF001


def mend_defaults(url: str) -> None:
    """Put such words into the defaults of the tables that DBOS has made in the database of `url`.

    In place, as SQLite's documentation describes for changes that no stored row depends on
    (lang_altertab, "Making Other Kinds Of Table Schema Changes").
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            run = connection.exec_driver_sql
            # Where another one migrates as well, one after the other.
            run("BEGIN IMMEDIATE")
            version = run("PRAGMA schema_version").scalar_one()
            run("PRAGMA writable_schema = ON")
            change = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND instr(sql, ?)"
            run(change, (_UNKNOWN, _KNOWN, _UNKNOWN))
            # Whoever has the database open reads it anew.
            run(f"PRAGMA schema_version = {version + 1}")
            run("PRAGMA writable_schema = OFF")
            run("COMMIT")
    finally:
        engine.dispose()
