"""hardpoint on SQLite or PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import text

from apps.queues.tally import PATH, of_the_worker
from hardpoint.db import open_database
from hardpoint.jobs import JobQueue, JobRegistry
from hardpoint.jobs.durable import migrate, open_durable_jobs

registry = JobRegistry(JobQueue("bench", concurrency=int(os.environ.get("BENCHMARK_CONCURRENCY", "20"))))
tally = of_the_worker() if PATH in os.environ else None


@registry.job(queue="bench")
async def work(number: int, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
    assert tally is not None
    tally.count(number)


@asynccontextmanager
async def producer(
    url: str,
) -> AsyncIterator[tuple[Callable[[int, float], Awaitable[object]], Callable[[int], Awaitable[object]]]]:
    await migrate(url)
    async with open_database(url) as database, open_durable_jobs(registry, database, url) as jobs:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))

        async def enqueue(number: int, seconds: float) -> None:
            await jobs.enqueue(work, number=number, seconds=seconds)

        async def enqueue_with_data(number: int) -> None:
            async with database.session() as session:
                await session.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": number})
                await jobs.enqueue(work, session=session, number=number, seconds=0.0)

        yield enqueue, enqueue_with_data
