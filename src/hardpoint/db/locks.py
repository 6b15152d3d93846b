"""One at a time through a section that reads, decides and writes."""

from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["begin_writing", "transaction_lock"]


async def transaction_lock(session: AsyncSession, name: str) -> None:
    """Wait until no other transaction holds the lock `name`, and hold it until this one ends.

    For rules that no constraint can state, such as "the last admin stays". PostgreSQL: a transaction-level advisory
    lock. SQLite, which has one writer at a time: the write lock, taken now and not at the first write, so that what is
    read next cannot change before. Call it before reading what the decision depends on.

    Args:
        session: The session whose transaction holds the lock.
        name: Which section; any text.
    """
    connection = await session.connection()
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        return
    await connection.run_sync(begin_writing)


def begin_writing(connection: Connection) -> None:
    """On SQLite: take the write lock for this connection's transaction, which begins now unless it has.

    Its driver begins one before the first write alone. What has read first would be refused if another one had written
    meanwhile; this waits for others.
    """
    driver_connection: Any = connection.connection.driver_connection
    if not driver_connection.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
