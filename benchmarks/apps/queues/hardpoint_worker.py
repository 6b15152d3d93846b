"""`python -m apps.queues.hardpoint_worker`."""

import asyncio
import os
import signal

from apps.queues.by_hardpoint import registry
from hardpoint.db import open_database
from hardpoint.jobs.durable import open_durable_jobs
from hardpoint.jobs.worker import open_worker


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    url = os.environ["BENCHMARK_DATABASE_URL"]
    async with (
        open_database(url) as database,
        open_durable_jobs(registry, database, url) as jobs,
        open_worker(jobs, state={"database": database}),
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
