"""procrastinate on PostgreSQL, with the periodic task of its documentation that retries what dead workers had."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, JobContext, PsycopgConnector
from sqlalchemy import make_url

from apps.queues.tally import PATH, of_the_worker

URL = "BENCHMARK_DATABASE_URL"


def conninfo(url: str) -> str:
    parsed = make_url(url)
    return f"dbname={parsed.database} user={parsed.username} host={parsed.query['host']}"


app = App(connector=PsycopgConnector(conninfo=conninfo(os.environ[URL]) if URL in os.environ else ""))
tally = of_the_worker() if PATH in os.environ else None


@app.task
async def work(number: int, seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)
    assert tally is not None
    tally.count(number)


# Every minute, where the documentation has every ten: the benchmark does not wait so long.
@app.periodic(cron="* * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - as the library calls it.
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


@asynccontextmanager
async def producer(
    url: str,
) -> AsyncIterator[tuple[Callable[[int, float], Awaitable[object]], Callable[[int], Awaitable[object]]]]:
    connector = PsycopgConnector(conninfo=conninfo(url))
    with app.replace_connector(connector) as opened:
        async with opened.open_async():
            await opened.schema_manager.apply_schema_async()
            await connector.execute_query_async("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            pool: Any = connector.pool

            async def enqueue(number: int, seconds: float) -> None:
                await work.defer_async(number=number, seconds=seconds)

            async def enqueue_with_data(number: int) -> None:
                async with pool.connection() as connection:
                    await connection.execute("INSERT INTO orders (id) VALUES (%s)", (number,))
                    await work.configure(connection=connection).defer_async(number=number, seconds=0.0)

            yield enqueue, enqueue_with_data
