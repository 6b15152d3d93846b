"""Connections that are gone are replaced before anybody gets one, and those that stand are not asked each time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hardpoint.db.liveness import check_before_use


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def engine(postgres_url: str, clock: Clock) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres_url, pool_size=1)
    check_before_use(engine, idle_seconds=1.0, clock=clock)
    yield engine
    await engine.dispose()


async def ask(engine: AsyncEngine) -> tuple[int, Any]:
    """The number of the server's process, and asyncpg's connection to it."""
    async with engine.connect() as connection:
        number = await connection.scalar(text("SELECT pg_backend_pid()"))
        raw = await connection.get_raw_connection()
        return int(number), raw.driver_connection


def end(engine: AsyncEngine, number: int) -> None:
    """End the server's process, before this loop can hear of it."""
    url = make_url(engine.url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [number])


async def test_one_that_was_used_just_now_is_not_asked(engine: AsyncEngine, clock: Clock) -> None:
    number, connection = await ask(engine)
    sent: list[str] = []
    connection.add_query_logger(lambda record: sent.append(record.query))
    clock.now = 0.9
    assert (await ask(engine))[0] == number
    assert sent.count("BEGIN;") == 1
    clock.now = 2.0
    # Asking is a transaction of its own.
    assert (await ask(engine))[0] == number
    assert sent.count("BEGIN;") == 3


async def test_one_that_is_idle_is_replaced_when_the_server_does_not_answer_on_it(
    engine: AsyncEngine, clock: Clock
) -> None:
    number, connection = await ask(engine)
    end(engine, number)
    assert not connection.is_closed()
    clock.now = 1.0
    assert (await ask(engine))[0] != number


async def test_one_that_the_server_has_closed_is_replaced_however_lately_it_was_used(engine: AsyncEngine) -> None:
    number, connection = await ask(engine)
    end(engine, number)
    while not connection.is_closed():
        await asyncio.sleep(0.01)
    assert (await ask(engine))[0] != number
