"""Jobs that are stopped: by a user in the middle of an attempt, or by the end of their worker."""

import asyncio
from contextlib import suppress

import pytest

from hardpoint import context
from hardpoint.db import Session
from hardpoint.errors import Conflict
from hardpoint.jobs import JobError, JobQueue, JobRegistry, JobRun
from hardpoint.jobs.worker import JobChange
from support.asgi import logged
from support.jobs import Bench, Done, finished, until


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_running_job_is_stopped_and_what_it_did_is_rolled_back(bench: Bench, exactly_once: bool) -> None:
    registry = JobRegistry(JobQueue("one", concurrency=1))
    began, stopped = asyncio.Event(), asyncio.Event()
    told: list[tuple[str, str, str | None]] = []

    @registry.job(queue="one", exactly_once=exactly_once)
    async def endless(session: Session) -> None:
        session.add(Done(number=1))
        # Not flushed: on SQLite this transaction would hold up everybody who writes, which is another matter.
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    @registry.job(queue="one")
    async def work() -> None: ...

    async def note(change: JobChange) -> None:
        told.append((change.name, change.status, change.principal))

    async with bench.jobs(registry) as jobs, bench.worker(jobs, on_change=note):
        context.principal.set("user:7")
        job_id = await jobs.enqueue(endless)
        context.principal.set(None)
        await began.wait()
        await jobs.cancel(job_id)
        await asyncio.wait_for(stopped.wait(), 30)
        # Its place is free.
        await finished(jobs, await jobs.enqueue(work))
        assert (await jobs.info(job_id)).status == "cancelled"

        async def is_told() -> bool:
            return ("endless", "cancelled", "user:7") in told

        await until(is_told)
        with pytest.raises(Conflict, match="was cancelled already"):
            await jobs.cancel(job_id)
    assert await bench.done() == []
    assert told.count(("endless", "cancelled", "user:7")) == 1
    assert ("endless", "succeeded", "user:7") not in told


async def test_what_does_not_end_in_time_is_stopped_and_the_next_worker_begins_it_again(bench: Bench) -> None:
    registry = JobRegistry()
    began, go_on = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    @registry.job()
    async def slow(session: Session, run: JobRun) -> None:
        attempts.append(run.attempt)
        session.add(Done(number=1))
        began.set()
        await go_on.wait()

    async with bench.jobs(registry) as jobs:
        with logged() as records:
            async with bench.worker(jobs, drain_seconds=0.1):
                job_id = await jobs.enqueue(slow)
                await began.wait()
        assert records.fields("jobs_left_to_others") == [{"count": 1}]
        assert (await jobs.info(job_id)).status == "queued"
        assert await bench.done() == []
        go_on.set()
        async with bench.worker(jobs):
            assert (await finished(jobs, job_id)).status == "succeeded"
    # The attempt did not fail, so it was not the first of two.
    assert attempts == [1, 1]
    assert await bench.done() == [1]


async def test_a_job_that_does_not_let_itself_be_stopped_does_not_keep_its_worker_from_ending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardpoint.jobs.execution._STOP_SECONDS", 0.1)
    registry = JobRegistry()
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @registry.job()
    async def stubborn() -> None:
        began.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()
        ended.set()

    async with bench.jobs(registry) as jobs:
        with logged() as records:
            async with bench.worker(jobs, drain_seconds=0):
                job_id = await jobs.enqueue(stubborn)
                await began.wait()
        assert len(records.fields("job_does_not_stop")) == 1
        # Somebody else may begin it.
        assert (await jobs.info(job_id)).status == "queued"
        go_on.set()
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_job_that_is_done_and_not_yet_noted_as_ended_is_not_done_again(bench: Bench) -> None:
    registry = JobRegistry()
    told: list[str] = []
    keys: list[str] = []
    hang = asyncio.Event()

    @registry.job(exactly_once=True)
    async def once(session: Session) -> None:
        session.add(Done(number=1))

    async def note(change: JobChange) -> None:
        told.append(change.status)
        keys.append(change.key)
        if change.status == "succeeded" and told.count("succeeded") == 1:
            # Its work is committed. Here the process ends.
            hang.set()
            await asyncio.Event().wait()

    async with bench.jobs(registry) as jobs:
        async with bench.worker(jobs, on_change=note, drain_seconds=0):
            job_id = await jobs.enqueue(once)
            await hang.wait()
        assert await bench.done() == [1]
        assert (await jobs.info(job_id)).status == "queued"
        async with bench.worker(jobs, on_change=note):
            assert (await finished(jobs, job_id)).status == "succeeded"
    assert await bench.done() == [1]
    assert told == ["running", "succeeded", "succeeded"]
    assert keys[1] == keys[2] != keys[0]


async def test_what_is_told_of_a_job_that_was_begun_again_is_not_what_was_told_before(bench: Bench) -> None:
    registry = JobRegistry()
    keys: list[str] = []

    @registry.job(attempts=1)
    async def fail() -> None:
        raise JobError("no")

    async def note(change: JobChange) -> None:
        keys.append(change.key)

    async with bench.jobs(registry) as jobs, bench.worker(jobs, on_change=note):
        job_id = await jobs.enqueue(fail)
        for _ in range(2):
            await finished(jobs, job_id)
            await jobs.retry(job_id)
        await finished(jobs, job_id)
    assert len(keys) == len(set(keys)) == 6


async def test_an_exactly_once_job_that_commits_by_itself_fails(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(exactly_once=True, attempts=1)
    async def wrong(session: Session) -> None:
        await session.commit()

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(wrong))
    assert (info.status, info.error) == ("failed", "InvalidRequestError")
