"""A worker as a process of its own, for tests that kill it: `python -m support.job_worker URL`."""

import asyncio
import signal
import sys

from hardpoint.db import Session, open_database
from hardpoint.jobs import JobQueue, JobRegistry, JobRun
from hardpoint.jobs.durable import open_durable_jobs
from hardpoint.jobs.worker import open_worker
from support.jobs import Done, Started

registry = JobRegistry(JobQueue("many", concurrency=20))


@registry.job(queue="many")
async def plain(number: int, session: Session, run: JobRun) -> None:
    session.add(Started(number=number, job_id=run.job_id))
    await session.commit()
    await asyncio.sleep(0.005)
    session.add(Done(number=number))


@registry.job(queue="many", exactly_once=True)
async def once(number: int, session: Session) -> None:
    await asyncio.sleep(0.005)
    session.add(Done(number=number))


async def main(url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        open_database(url) as database,
        open_durable_jobs(registry, database, url) as jobs,
        open_worker(jobs, state={"database": database}, poll_seconds=0.1),
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
