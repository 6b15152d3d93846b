"""The pauses between attempts: as long as documented, in nobody's way, and over at once when the job is cancelled."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from hardpoint.jobs import JobError, JobQueue, JobRegistry
from hardpoint.jobs.durable import DurableJobs
from hardpoint.jobs.worker import JobChange
from support.jobs import Bench, finished, until


class FrozenClock:
    """A clock of the past, so that by the engine's own every pause is over, which goes where a test puts it."""

    def __init__(self) -> None:
        self.now = datetime(2020, 1, 1, tzinfo=UTC)

    def __call__(self) -> float:
        return self.now.timestamp()


async def pauses_of(bench: Bench, *, attempts: int, seconds: float, most: float, jitter: float) -> list[float]:
    """How long a failing job is made to wait before each attempt but the first."""
    registry, clock = JobRegistry(), FrozenClock()
    pauses: list[float] = []

    @registry.job(attempts=attempts, backoff_seconds=seconds, max_backoff_seconds=most, jitter=jitter)
    async def fail() -> None:
        raise JobError("Not today")

    async def note(change: JobChange) -> None:
        if change.status == "running" and change.attempt > 1:
            due_at = (await jobs.info(change.job_id)).due_at
            assert due_at is not None
            pauses.append((due_at - clock.now).total_seconds())
            clock.now = due_at

    async with bench.jobs(registry, clock=clock) as jobs, bench.worker(jobs, on_change=note):
        info = await finished(jobs, await jobs.enqueue(fail))
    assert (info.status, info.attempts, info.error, info.due_at) == ("failed", attempts, "Not today", None)
    return pauses


async def test_a_failing_job_backs_off_as_documented(bench: Bench) -> None:
    pauses = await pauses_of(bench, attempts=6, seconds=2, most=10, jitter=0)
    assert pauses == [2, 4, 8, 10, 10]


async def test_a_pause_varies_by_its_jitter_and_no_more(bench: Bench) -> None:
    pauses = await pauses_of(bench, attempts=5, seconds=100, most=10_000, jitter=0.2)
    plain = [100, 200, 400, 800]
    assert all(0.8 * base - 0.01 <= pause <= 1.2 * base + 0.01 for base, pause in zip(plain, pauses, strict=True))
    assert {round(later / earlier, 6) for earlier, later in pairwise(pauses)} != {2.0}


async def test_a_job_that_waits_for_its_next_attempt_occupies_nobody(bench: Bench) -> None:
    registry = JobRegistry(JobQueue("one", concurrency=1, total_concurrency=1))

    @registry.job(queue="one", attempts=2, backoff_seconds=3_600)
    async def fail() -> None:
        raise JobError("The bank does not answer")

    @registry.job(queue="one")
    async def work() -> None: ...

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        failing = [await jobs.enqueue(fail) for _ in range(3)]
        assert (await finished(jobs, await jobs.enqueue(work))).status == "succeeded"
        for job_id in failing:
            info = await jobs.info(job_id)
            assert (info.status, info.attempts, info.error) == ("queued", 1, "The bank does not answer")
            assert info.due_at is not None
            assert info.due_at > datetime.now(UTC) + timedelta(minutes=40)
        await jobs.cancel(failing[0])
        assert (await jobs.info(failing[0])).status == "cancelled"


@pytest.mark.parametrize("poll_seconds", [3_600])
async def test_what_this_process_enqueues_or_ends_is_seen_without_a_look(bench: Bench, poll_seconds: float) -> None:
    registry = JobRegistry(JobQueue("one", concurrency=1))
    order: list[int] = []

    @registry.job(queue="one")
    async def work(number: int) -> None:
        order.append(number)

    async with bench.jobs(registry) as jobs, bench.worker(jobs, poll_seconds=poll_seconds):
        await settled(jobs)
        async with bench.database.session() as session:
            ids = [await jobs.enqueue(work, session=session, number=number) for number in range(3)]
        for job_id in ids:
            await finished(jobs, job_id)
        cancelled = await jobs.enqueue(work, number=3, delay=timedelta(hours=1))
        await jobs.cancel(cancelled)
        await jobs.retry(cancelled)
        await finished(jobs, cancelled)
    assert order == [0, 1, 2, 3]


async def settled(jobs: DurableJobs) -> None:
    """Wait until the worker has begun."""

    async def has_begun() -> bool:
        return jobs.engine.bell is not None

    await until(has_begun)


def test_chance_is_not_needed_for_the_longest_pause() -> None:
    policy = JobRegistry().job(backoff_seconds=1, max_backoff_seconds=5, jitter=0)

    async def work() -> None: ...

    assert policy(work).retry.pause_after(10_000, chance=random.Random(1)) == 5
