"""A worker as a process of its own, for tests that kill it: `python -m support.job_worker URL`."""

import asyncio
import os
import signal
import sys

from hardpoint.db import Session, open_database
from hardpoint.jobs import JobQueue, JobRegistry, worker
from hardpoint.jobs.durable import open_durable_jobs
from support.jobs import Done, Started

registry = JobRegistry(JobQueue("many", concurrency=20))


@registry.job(queue="many")
async def plain(number: int, session: Session) -> None:
    session.add(Started(number=number, worker=os.getpid()))
    await session.commit()
    await asyncio.sleep(0.005)
    session.add(Done(number=number))


@registry.job(queue="many", exactly_once=True)
async def once(number: int, session: Session) -> None:
    await asyncio.sleep(0.005)
    session.add(Done(number=number))


async def main(url: str, silence_seconds: float = 15.0) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_database(url) as database,
        open_durable_jobs(registry, database, url) as jobs,
        worker.open_worker(jobs, state={"database": database}, poll_seconds=0.1, silence_seconds=silence_seconds),
    ):
        await stop.wait()


if __name__ == "__main__":
    address, *silence = sys.argv[1:]
    if silence:
        # What ends it by force does so at once, for a test that cannot wait.
        worker._LET_GO_SECONDS = 1.0
    asyncio.run(main(address, *map(float, silence)))
