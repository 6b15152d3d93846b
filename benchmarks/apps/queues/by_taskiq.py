"""taskiq on a stream of Valkey, whose messages are acknowledged when they are done.

Its list brokers lose what a worker had when it dies.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import text
from taskiq_redis import RedisStreamBroker

from apps.queues.tally import PATH, of_the_worker
from hardpoint.db import open_database

broker = RedisStreamBroker(os.environ.get("BENCHMARK_REDIS_URL", "redis://127.0.0.1:1/0"))
tally = of_the_worker() if PATH in os.environ else None


@broker.task
async def work(number: int, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
    assert tally is not None
    tally.count(number)


@asynccontextmanager
async def producer(
    url: str,
) -> AsyncIterator[tuple[Callable[[int, float], Awaitable[object]], Callable[[int], Awaitable[object]]]]:
    await broker.startup()
    async with open_database(url) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))

        async def enqueue(number: int, seconds: float) -> None:
            await work.kiq(number, seconds)

        async def enqueue_with_data(number: int) -> None:
            async with database.session() as session:
                await session.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": number})
            # Here a process may die, and the task is lost.
            await work.kiq(number, 0.0)

        yield enqueue, enqueue_with_data
    await broker.shutdown()
