"""Workers killed with -9 in the middle of their work: nothing is lost, and what runs exactly once does."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, select, text

from support.job_worker import once, plain, registry
from support.jobs import Bench, Started
from support.network import Network

# The whole of it, fifty kills, takes minutes: HARDPOINT_KILLS=50 make test ARGS=tests/jobs/test_kills.py
KILLS = int(os.environ.get("HARDPOINT_KILLS", "6"))
JOBS = 1_000
END_LOCK_HOLDERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Workers:
    """Processes that run jobs; a killed one is replaced."""

    def __init__(self, url: str, folder: Path, count: int, *options: str) -> None:
        self._command = [sys.executable, "-m", "support.job_worker", url, *options]
        self._log = (folder / "workers.log").open("w")
        self.processes = [self._start() for _ in range(count)]

    def _start(self) -> "subprocess.Popen[bytes]":
        path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.Popen(self._command, env={**os.environ, **path}, stderr=self._log)

    def kill_one(self, chance: random.Random) -> None:
        place = chance.randrange(len(self.processes))
        self.processes[place].kill()
        self.processes[place].wait()
        self.processes[place] = self._start()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(60)
        self._log.close()


@pytest.fixture
def workers(bench: Bench, database_url: str) -> Iterator[Workers]:
    count = 1 if database_url.startswith("sqlite") else 3
    workers = Workers(database_url, bench.folder, count)
    try:
        yield workers
    finally:
        workers.stop()


async def test_nothing_is_lost_and_exactly_once_is_exactly_once(bench: Bench, workers: Workers) -> None:
    chance = random.Random(20261124)
    async with bench.jobs(registry) as jobs:
        for start in range(0, JOBS, 50):
            async with bench.database.session() as session:
                for number in range(start, start + 50):
                    job = once if number % 2 else plain
                    await jobs.enqueue(job, session=session, number=number)
        # Each kill at a random place in the work, told by how much of it is done.
        goals = sorted(chance.sample(range(1, JOBS - 100), KILLS))
        async with asyncio.timeout(900):
            for goal in goals:
                while len(await bench.done()) < goal:
                    await asyncio.sleep(0.02)
                workers.kill_one(chance)
            while len(set(await bench.done())) < JOBS:
                await asyncio.sleep(0.1)
            while await jobs.list(status="running") or await jobs.list(status="queued"):
                await asyncio.sleep(0.1)
        counts = Counter(await bench.done())
        assert set(counts) == set(range(JOBS))
        assert {number: count for number, count in counts.items() if number % 2 and count > 1} == {}
        async with bench.database.session() as session:
            started = Counter((await session.scalars(select(Started.number))).all())
        # One that was done twice was begun twice: its worker died between the work and the note that it is done.
        assert all(started[number] >= count for number, count in counts.items() if not number % 2)
        assert {info.status for info in await jobs.list(limit=2 * JOBS)} == {"succeeded"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_worker_that_loses_its_lock_ends(bench: Bench, database_url: str) -> None:
    workers = Workers(database_url, bench.folder, 1)
    (process,) = workers.processes
    async with bench.jobs(registry) as jobs:
        job_id = await jobs.enqueue(plain, number=1)
        async with asyncio.timeout(60):
            while (await jobs.info(job_id)).status != "succeeded":
                await asyncio.sleep(0.05)
    async with bench.database.session() as session:
        await session.execute(text(END_LOCK_HOLDERS))
    await asyncio.to_thread(process.wait, 60)
    workers.stop()
    assert process.returncode == 1
    assert "worker_lost" in (bench.folder / "workers.log").read_text()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_worker_that_hears_nothing_of_the_database_ends_whatever_waits_for_it(bench: Bench) -> None:
    url = make_url(bench.url)
    with Network.started() as network:
        link = network.link("worker>postgres", Path(str(url.query["host"])) / ".s.PGSQL.5432")
        by_link = url.set(host="127.0.0.1", port=link.port, query={}).render_as_string(hide_password=False)
        # Lost after a second, and ended by force as soon as may be: its threads wait for the database for ever.
        workers = Workers(by_link, bench.folder, 1, "1")
        (process,) = workers.processes
        async with bench.jobs(registry) as jobs:
            job_id = await jobs.enqueue(plain, number=1)
            async with asyncio.timeout(60):
                while (await jobs.info(job_id)).status != "succeeded":
                    await asyncio.sleep(0.05)
        link.hold()
        await asyncio.to_thread(process.wait, 60)
        link.heal(reset=True)
    workers.stop()
    assert process.returncode == 1
    assert "worker_lost" in (bench.folder / "workers.log").read_text()
