"""Whether a pooled connection still stands, without asking the server before every use."""

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

from hardpoint.clock import Clock, monotonic_clock

__all__ = ["check_before_use"]

_LAST_USE: Final = "hardpoint.last_use"


def check_before_use(engine: AsyncEngine, *, idle_seconds: float = 1.0, clock: Clock = monotonic_clock) -> None:
    """Replace connections of asyncpg that are gone, before anybody gets one; instead of the pool's own ping.

    That ping is four round trips with asyncpg, as many as a small transaction itself: half of the throughput of reading
    a row by its key (`benchmarks/drivers.py`). A connection that the server has closed is known to asyncpg as closed as
    soon as the loop has heard of it, so the server is asked only about one that nobody has used for a while.

    Args:
        engine: An engine with asyncpg, made without `pool_pre_ping`.
        idle_seconds: After which a connection is asked about.
        clock: A monotonic clock, in seconds.
    """
    dialect = engine.dialect
    pool = engine.sync_engine.pool

    def checkout(connection: Any, record: Any, _proxy: object) -> None:
        last_use = record.info.get(_LAST_USE)
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError
        if last_use is None or clock() - last_use < idle_seconds:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, connection, None):
                # All others of its age with it: the server was restarted.
                raise InvalidatePoolError from error
            raise

    def checkin(_connection: object, record: Any) -> None:
        record.info[_LAST_USE] = clock()

    event.listen(pool, "checkout", checkout)
    event.listen(pool, "checkin", checkin)
