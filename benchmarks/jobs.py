"""Jobs a second and the time that enqueueing one takes, beside Celery, taskiq and procrastinate, in one run.

    make bench-jobs
    make bench-jobs ARGS="--rounds 3 --only hardpoint_postgresql --only procrastinate"

Every library runs the same job, which does nothing but count itself, in one worker process with the same concurrency,
as its own documentation tells who must not lose work. They take turns, round by round, each time on a fresh database or
an empty Valkey; what is told are medians. Absolute figures are this machine's and say nothing about yours.

    jobs/s       1,000 jobs that wait already, from the first that runs to the last
    ratio        the same as a share of the first library's in the same round
    enqueue ms   one job after the other: the median, and what one in a hundred exceeds
    with data    the same together with a row: one transaction where the library has that, otherwise one after the other

Then a worker is killed with -9 in the middle of 100 jobs of 25 to 75 ms, and another one is started at once:

    late         how many had not run two minutes later
    again        how many ran more than once
    recovered s  how long it took until the last had run
"""

import argparse
import asyncio
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.queues.tally import Tally
from run import HERE, ValkeyServer

from support.servers import PostgresServer

CONCURRENCY = 20
KILLED_JOBS, KILLED_AFTER, LATE_SECONDS = 100, 30, 120


@dataclass(frozen=True)
class Library:
    """One that is compared.

    Attributes:
        module: Whose `producer` enqueues.
        store: Where its database is, which is also where the row goes.
        worker: The command of its worker.
        transaction: Whether a job can be enqueued in the transaction of the data.
        worker_killed: What its documentation says of a worker that is killed.
        store_killed: What is lost when the process that keeps the jobs is killed, and at a power failure.
    """

    module: str
    store: str
    worker: tuple[str, ...]
    transaction: bool
    worker_killed: str
    store_killed: str


VALKEY = "AOF, a second at a power failure"
LIBRARIES = {
    "hardpoint_postgresql": Library(
        "by_hardpoint",
        "postgresql",
        ("-m", "apps.queues.hardpoint_worker"),
        transaction=True,
        worker_killed="taken over in 2 s",
        store_killed="nothing",
    ),
    "hardpoint_sqlite": Library(
        "by_hardpoint",
        "sqlite",
        ("-m", "apps.queues.hardpoint_worker"),
        transaction=True,
        worker_killed="the next one's start, some ms",
        store_killed="nothing; the last commits at a power failure",
    ),
    "procrastinate": Library(
        "by_procrastinate",
        "postgresql",
        ("-m", "procrastinate", "--app=apps.queues.by_procrastinate.app", "worker", f"--concurrency={CONCURRENCY}"),
        transaction=True,
        worker_killed="30 s without heartbeat, and a periodic task of one's own",
        store_killed="nothing",
    ),
    "celery": Library(
        "by_celery",
        "postgresql",
        ("-m", "celery", "--app=apps.queues.by_celery:app", "worker", "--pool=threads", f"--concurrency={CONCURRENCY}"),
        transaction=False,
        worker_killed="redelivered after visibility_timeout, an hour",
        store_killed=VALKEY,
    ),
    "taskiq": Library(
        "by_taskiq",
        "postgresql",
        ("-m", "taskiq", "worker", "apps.queues.by_taskiq:broker", "--workers=1", f"--max-async-tasks={CONCURRENCY}"),
        transaction=False,
        worker_killed="claimed after idle_timeout, ten minutes",
        store_killed=VALKEY,
    ),
}


class Bench:
    """The servers, the tally and a library's turns."""

    def __init__(self, postgres: PostgresServer, valkey: ValkeyServer, folder: Path) -> None:
        self._postgres = postgres
        self._valkey = valkey
        self._folder = folder
        self._turn = 0

    @contextmanager
    def database(self, library: Library) -> Iterator[str]:
        """A fresh one; its URL."""
        self._turn += 1
        self._valkey.command("FLUSHALL")
        if library.store == "sqlite":
            yield f"sqlite+aiosqlite:///{self._folder / f'{self._turn}.db'}"
            return
        url = self._postgres.create_database()
        yield url
        self._postgres.drop_database(url)

    def tally(self, jobs: int) -> Tally:
        return Tally.fresh(self._folder / f"{self._turn}.tally", jobs)

    @contextmanager
    def worker(self, library: Library, url: str) -> Iterator["subprocess.Popen[bytes]"]:
        path = os.pathsep.join([str(HERE), str(HERE.parent / "tests")])
        environment = {**os.environ, "PYTHONPATH": path, "BENCHMARK_DATABASE_URL": url}
        environment["BENCHMARK_CONCURRENCY"] = str(CONCURRENCY)
        with (self._folder / "worker.log").open("ab") as log:
            command = [sys.executable, *library.worker]
            # A session of its own: some have children, which are killed with them.
            process = subprocess.Popen(
                command, env=environment, cwd=HERE, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    kill(process)

    async def rates(self, library: Library, jobs: int) -> dict[str, float]:
        """Jobs a second, and how long enqueueing takes."""
        with self.database(library) as url:
            tally = self.tally(jobs)
            async with module_of(library).producer(url) as (enqueue, enqueue_with_data):
                plain = [await timed(enqueue(number, 0.0)) for number in range(jobs // 2)]
                with_data = [await timed(enqueue_with_data(number)) for number in range(jobs // 2, jobs)]
                with self.worker(library, url):
                    await all_done(tally, 120)
        return {
            "jobs_per_second": (jobs - 1) / tally.seconds,
            "enqueue_ms": 1_000 * statistics.median(plain),
            "enqueue_p99_ms": 1_000 * p99(plain),
            "with_data_ms": 1_000 * statistics.median(with_data),
            "with_data_p99_ms": 1_000 * p99(with_data),
        }

    async def killed(self, library: Library) -> dict[str, float]:
        """What becomes of the jobs of a worker that is killed."""
        with self.database(library) as url:
            tally = self.tally(KILLED_JOBS)
            async with module_of(library).producer(url) as (enqueue, _):
                for number in range(KILLED_JOBS):
                    await enqueue(number, 0.025 + number * 37 % 50 / 1_000)
                with self.worker(library, url) as first:
                    while tally.done < KILLED_AFTER:
                        await asyncio.sleep(0.005)
                    kill(first)
                began = time.monotonic()
                with self.worker(library, url):
                    await all_done(tally, LATE_SECONDS)
                took = time.monotonic() - began
        late = KILLED_JOBS - tally.done
        return {
            "late": late,
            "again": sum(runs > 1 for runs in tally.runs),
            "recovered_seconds": math.inf if late else took,
        }


def module_of(library: Library) -> Any:
    return importlib.import_module(f"apps.queues.{library.module}")


def kill(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, 9)
    process.wait()


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


async def timed(call: Any) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


async def all_done(tally: Tally, seconds: float) -> None:
    """Wait until every job has run, or for so long."""
    end = time.monotonic() + seconds
    while tally.done < len(tally.runs) and time.monotonic() < end:
        await asyncio.sleep(0.02)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def print_rates(rounds: dict[str, list[dict[str, float]]]) -> None:
    print(
        f"{'':22}{'jobs/s':>9}{'ratio':>7}{'enqueue ms':>12}{'p99':>8}{'with data ms':>14}{'p99':>8}"
        "  in the data's transaction"
    )
    first = next(iter(rounds.values()))
    for name, each in rounds.items():
        figures = medians(each)
        pairs = zip(each, first, strict=True)
        ratio = statistics.median(ours["jobs_per_second"] / theirs["jobs_per_second"] for ours, theirs in pairs)
        print(
            f"{name:22}{figures['jobs_per_second']:9.0f}{ratio:7.2f}"
            f"{figures['enqueue_ms']:12.2f}{figures['enqueue_p99_ms']:8.1f}"
            f"{figures['with_data_ms']:14.2f}{figures['with_data_p99_ms']:8.1f}  "
            f"{'yes' if LIBRARIES[name].transaction else 'no'}"
        )


def print_kills(kills: dict[str, dict[str, float]]) -> None:
    print(f"\n{'':22}{'late':>6}{'again':>7}{'recovered s':>13}  a killed worker's jobs; what a killed store loses")
    for name, figures in kills.items():
        library = LIBRARIES[name]
        print(
            f"{name:22}{figures['late']:6.0f}{figures['again']:7.0f}{figures['recovered_seconds']:13.1f}  "
            f"{library.worker_killed}; {library.store_killed}"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--only", choices=LIBRARIES, action="append")
    parser.add_argument("--no-kills", action="store_true", help="leave the second part out")
    arguments = parser.parse_args()
    libraries = {name: LIBRARIES[name] for name in arguments.only or LIBRARIES}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in libraries}
    kills: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer.started() as postgres,
        ValkeyServer.started("--appendonly", "yes", "--dir", folder) as valkey,
    ):
        os.environ["BENCHMARK_REDIS_URL"] = valkey.url.replace("valkey://", "redis://")
        bench = Bench(postgres, valkey, Path(folder))
        for number in range(arguments.rounds):
            for name, library in libraries.items():
                rounds[name].append(await bench.rates(library, arguments.jobs))
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        if not arguments.no_kills:
            for name, library in libraries.items():
                kills[name] = await bench.killed(library)
    print(f"{arguments.jobs} jobs, {CONCURRENCY} at once in one worker, medians of {arguments.rounds} rounds")
    print_rates(rounds)
    if kills:
        print_kills(kills)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "jobs.json").write_text(json.dumps({"rounds": rounds, "kills": kills}, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
