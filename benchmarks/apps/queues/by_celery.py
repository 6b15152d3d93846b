"""Celery on Valkey, as its documentation tells who must not lose tasks.

They are acknowledged when they are done, and given back when a process of the worker is lost.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from celery import Celery
from sqlalchemy import text

from apps.queues.tally import PATH, of_the_worker
from hardpoint.db import open_database

app = Celery("bench", broker=os.environ.get("BENCHMARK_REDIS_URL", "redis://127.0.0.1:1/0"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)
tally = of_the_worker() if PATH in os.environ else None


@app.task
def work(number: int, seconds: float) -> None:
    if seconds:
        time.sleep(seconds)
    assert tally is not None
    tally.count(number)


@asynccontextmanager
async def producer(
    url: str,
) -> AsyncIterator[tuple[Callable[[int, float], Awaitable[object]], Callable[[int], Awaitable[object]]]]:
    async with open_database(url) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))

        async def enqueue(number: int, seconds: float) -> None:
            # It blocks; an async application would need a thread, which costs more.
            work.delay(number, seconds)

        async def enqueue_with_data(number: int) -> None:
            async with database.session() as session:
                await session.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": number})
            # Here a process may die, and the task is lost.
            work.delay(number, 0.0)

        yield enqueue, enqueue_with_data
        await asyncio.to_thread(app.close)
