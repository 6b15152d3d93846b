"""Workers killed with -9 in the middle of their work: nothing is lost, and what runs exactly once does."""

import asyncio
import logging
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
from support.jobs import Bench, Started, finished, until
from support.network import Network

logger = logging.getLogger(__name__)

# The whole of it, fifty kills, takes minutes: HARDPOINT_KILLS=50 make test ARGS=tests/jobs/test_kills.py
KILLS = int(os.environ.get("HARDPOINT_KILLS", "5"))
JOBS = 1_000 if KILLS > 5 else 250
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
        self.killed: set[int] = set()

    def _start(self) -> "subprocess.Popen[bytes]":
        path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.Popen(self._command, env={**os.environ, **path}, stderr=self._log)

    def kill_one(self, chance: random.Random) -> None:
        place = chance.randrange(len(self.processes))
        self.processes[place].kill()
        self.processes[place].wait()
        self.killed.add(self.processes[place].pid)
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
        goals = sorted(chance.sample(range(1, JOBS - JOBS // 10), KILLS))
        async with asyncio.timeout(900):
            for goal in goals:
                while await bench.count_done() < goal:
                    await asyncio.sleep(0.02)
                workers.kill_one(chance)
            while len(set(await bench.done())) < JOBS:
                await asyncio.sleep(0.1)
            while await jobs.list(status="running") or await jobs.list(status="queued"):
                await asyncio.sleep(0.1)
        counts = Counter(await bench.done())
        assert set(counts) == set(range(JOBS))
        assert {number: count for number, count in counts.items() if number % 2 and count > 1} == {}
        begun: dict[int, list[int]] = {}
        async with bench.database.session() as session:
            for number, worker in await session.execute(select(Started.number, Started.worker).order_by(Started.id)):
                begun.setdefault(number, []).append(worker)
        # Each that was done twice was begun twice, because the worker that had begun it was killed before the end.
        assert {number for number, times in begun.items() if not workers.killed.issuperset(times[:-1])} == set()
        assert all(len(begun[number]) >= count for number, count in counts.items() if not number % 2)
        begun_again = sum(len(times) - 1 for times in begun.values())
        done_again = sum(count - 1 for count in counts.values())
        # For whoever wants to know: --log-cli-level=INFO.
        logger.info("of %s jobs %s were begun again and %s done again", JOBS, begun_again, done_again)
        assert {info.status for info in await jobs.list(limit=2 * JOBS)} == {"succeeded"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_worker_that_loses_its_lock_goes_on_as_another_one(bench: Bench, database_url: str) -> None:
    workers = Workers(database_url, bench.folder, 1)
    log = bench.folder / "workers.log"
    try:
        async with bench.jobs(registry) as jobs:
            await finished(jobs, await jobs.enqueue(plain, number=1))
            async with bench.database.session() as session:
                await session.execute(text(END_LOCK_HOLDERS))

            async def is_lost() -> bool:
                return "worker_lost" in log.read_text()

            await until(is_lost)
            assert (await finished(jobs, await jobs.enqueue(plain, number=2))).status == "succeeded"
    finally:
        workers.stop()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_worker_in_which_something_waits_for_a_silent_database_ends_by_force(bench: Bench) -> None:
    url = make_url(bench.url)
    with Network.started() as network:
        link = network.link("worker>postgres", Path(str(url.query["host"])) / ".s.PGSQL.5432")
        by_link = url.set(host="127.0.0.1", port=link.port, query={}).render_as_string(hide_password=False)
        # Lost after a second, and ended by force soon after: its threads wait for the database for ever.
        workers = Workers(by_link, bench.folder, 1, "1")
        (process,) = workers.processes
        async with bench.jobs(registry) as jobs:
            await finished(jobs, await jobs.enqueue(plain, number=1))
        link.hold()
        await asyncio.to_thread(process.wait, 60)
        link.heal(reset=True)
    workers.stop()
    assert process.returncode == 1
