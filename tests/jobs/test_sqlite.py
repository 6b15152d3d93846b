"""DBOS on a SQLite of any version, with any version of Python."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, select

from hardpoint.jobs.sqlite import mend_defaults, sqlite_now


def test_defaults_of_newer_versions_are_told_in_words_that_older_ones_know(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE jobs (id TEXT, at INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000))")
        connection.execute("CREATE TABLE others (id TEXT, at INTEGER NOT NULL DEFAULT (7))")
        # Twice, as with every migration; while somebody has the database open.
        mend_defaults(f"sqlite:///{file}")
        mend_defaults(f"sqlite:///{file}")
        before = time.time()
        connection.execute("INSERT INTO jobs (id) VALUES ('one')")
        connection.execute("INSERT INTO others (id) VALUES ('one')")
        ((at,),) = connection.execute("SELECT at FROM jobs")
        assert abs(at / 1_000 - before) < 60
        assert connection.execute("SELECT at FROM others").fetchall() == [(7,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_now_is_told_in_milliseconds() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        assert abs(connection.execute(select(sqlite_now())).scalar_one() / 1_000 - time.time()) < 60
    engine.dispose()
