"""Durable jobs: enqueued with the data or not at all, tried again as declared, told of, cancelled."""

import asyncio
import logging
import random
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends
from sqlalchemy import column, func, make_url, select, table
from starlette.requests import HTTPConnection

from hardpoint import context
from hardpoint.db import Session, open_database
from hardpoint.errors import Conflict, NotFound, ServiceUnavailable
from hardpoint.jobs import GiveUp, JobError, JobQueue, JobRegistry, JobRun
from hardpoint.jobs.durable import open_durable_jobs
from hardpoint.jobs.worker import JobChange, open_worker
from support.asgi import logged
from support.jobs import Bench, Done, finished, until
from support.network import Link, Network
from support.servers import free_port


async def test_a_job_runs_with_its_arguments_and_dependencies_and_the_context_of_who_enqueued_it(bench: Bench) -> None:
    registry = JobRegistry()
    seen: list[tuple[object, ...]] = []

    async def state_name(connection: HTTPConnection) -> str:
        return type(connection.state.database).__name__

    @registry.job()
    async def work(
        number: int,
        session: Session,
        run: JobRun,
        name: Annotated[str, Depends(state_name)],
        words: tuple[str, ...] = ("a", "b"),
    ) -> None:
        session.add(Done(number=number))
        seen.append((number, words, name, run.attempt, context.request_id.get(), context.principal.get()))

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        context.request_id.set("the-request")
        context.principal.set("user:7")
        job_id = await jobs.enqueue(work, number=5)
        context.request_id.set(None)
        context.principal.set(None)
        info = await finished(jobs, job_id)
    assert seen == [(5, ("a", "b"), "Database", 1, "the-request", "user:7")]
    assert (info.status, info.attempts, info.error, info.principal, info.name) == (
        "succeeded",
        1,
        None,
        "user:7",
        "work",
    )
    assert info.finished_at is not None
    assert await bench.done() == [5]


async def test_a_job_is_part_of_the_transaction_that_enqueues_it_over_500_random_interleavings(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job()
    async def work(number: int) -> None: ...

    chance = random.Random(20261124)
    committed: set[str] = set()
    async with bench.jobs(registry) as jobs:

        async def transaction(number: int) -> None:
            await asyncio.sleep(chance.random() / 50)
            try:
                async with bench.database.session() as session:
                    job_id = ""
                    for enqueues in chance.sample([True, False, False], 3):
                        if enqueues:
                            job_id = await jobs.enqueue(work, session=session, number=number)
                        else:
                            session.add(Done(number=number))
                            await session.flush()
                    if chance.random() < 0.5:
                        raise ZeroDivisionError
                committed.add(job_id)
            except ZeroDivisionError:
                pass

        for start in range(0, 500, 5):
            await asyncio.gather(*[transaction(number) for number in range(start, start + 5)])
        stored = {info.id for info in await jobs.list(limit=1_000)}
        assert stored == committed
        assert len(await bench.done()) == 2 * len(committed)


async def test_a_failing_job_is_tried_as_often_as_declared_and_can_be_begun_again(bench: Bench) -> None:
    registry = JobRegistry()
    attempts: list[int] = []
    broken = True

    @registry.job(attempts=3, backoff_seconds=0)
    async def work(session: Session, run: JobRun) -> None:
        attempts.append(run.attempt)
        session.add(Done(number=run.attempt))
        if broken:
            await run.progress(0.75)
            raise JobError("The printer is on fire")

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        job_id = await jobs.enqueue(work)
        info = await finished(jobs, job_id)
        assert (info.status, info.attempts, info.error) == ("failed", 3, "The printer is on fire")
        assert info.progress == 0.75
        assert attempts == [1, 2, 3]
        assert await bench.done() == []
        broken = False
        await jobs.retry(job_id)

        async def succeeded() -> bool:
            return (await jobs.info(job_id)).status == "succeeded"

        await until(succeeded)
        info = await jobs.info(job_id)
        assert (info.error, info.progress) == (None, None)
        assert await bench.done() == [1]
        with pytest.raises(Conflict) as refused:
            await jobs.retry(job_id)
        assert refused.value.code == "JOB_NOT_FAILED"


@pytest.mark.parametrize(
    ("error", "told", "attempts"),
    [
        (GiveUp("No such printer"), "No such printer", 1),
        (ServiceUnavailable("The printer is away"), "The printer is away", 2),
        (RuntimeError("password=canary"), "RuntimeError", 2),
        (JobError("what PostgreSQL\x00 does not store"), "what PostgreSQL does not store", 2),
        (JobError("x" * 10_000), "x" * 2_000, 2),
    ],
)
async def test_what_a_failure_tells(bench: Bench, error: Exception, told: str, attempts: int) -> None:
    registry = JobRegistry()

    @registry.job(attempts=2, backoff_seconds=0)
    async def work() -> None:
        raise error

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(work))
    assert (info.status, info.error, info.attempts) == ("failed", told, attempts)


async def test_a_failure_that_tells_half_a_character_is_a_failure_as_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = JobRegistry()

    @registry.job(attempts=1)
    async def work() -> None:
        raise JobError("half: \ud800")

    # What pytest-xdist cannot pass on is also the text of the log.
    monkeypatch.setattr(logging.getLogger("hardpoint.jobs"), "disabled", True)
    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(work))
    assert (info.status, info.error) == ("failed", "half: ?")


async def test_an_attempt_that_takes_too_long_has_failed(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(attempts=1, timeout_seconds=0.05)
    async def work() -> None:
        await asyncio.Event().wait()

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(work))
    assert (info.status, info.error) == ("failed", "TimeoutError")


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_an_attempt_that_waits_for_what_is_cancelled_has_failed(bench: Bench, exactly_once: bool) -> None:
    registry = JobRegistry()
    attempts: list[int] = []

    @registry.job(attempts=2, backoff_seconds=0, exactly_once=exactly_once)
    async def work(run: JobRun) -> None:
        attempts.append(run.attempt)
        # As of a library whose connection is closed under it: nobody has cancelled the job.
        other = asyncio.create_task(asyncio.sleep(3600))
        other.cancel()
        await other

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(work))
    assert (info.status, info.error, attempts) == ("failed", "CancelledError", [1, 2])


async def test_an_exactly_once_job_rolls_back_a_failed_attempt_with_its_note(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(attempts=3, backoff_seconds=0, exactly_once=True)
    async def work(session: Session, run: JobRun) -> None:
        session.add(Done(number=run.attempt))
        await session.flush()
        if run.attempt < 3:
            raise JobError("not yet")

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        info = await finished(jobs, await jobs.enqueue(work))
    assert (info.status, info.attempts) == ("succeeded", 3)
    assert await bench.done() == [3]


async def test_a_waiting_job_is_cancelled_and_a_finished_one_is_not(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job()
    async def work(number: int, session: Session) -> None:
        session.add(Done(number=number))

    async with bench.jobs(registry) as jobs:
        cancelled = await jobs.enqueue(work, number=1)
        kept = await jobs.enqueue(work, number=2)
        await jobs.cancel(cancelled)
        async with bench.worker(jobs):
            await finished(jobs, kept)
        assert (await jobs.info(cancelled)).status == "cancelled"
        assert await bench.done() == [2]
        with pytest.raises(Conflict) as refused:
            await jobs.cancel(kept)
        assert refused.value.code == "JOB_FINISHED"
        for nobody in (jobs.info, jobs.cancel, jobs.retry):
            # The last two cannot even be asked for.
            for job_id in ("no-such-job", "a\0", "\udcff"):
                with pytest.raises(NotFound):
                    await nobody(job_id)


async def test_an_idempotency_key_makes_one_job_of_many(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job()
    async def work(number: int, session: Session) -> None:
        session.add(Done(number=number))

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        ids = {await jobs.enqueue(work, number=number, idempotency_key="the same") for number in range(5)}
        other = await jobs.enqueue(work, number=9, idempotency_key="another")
        (one,) = ids
        await finished(jobs, one)
        await finished(jobs, other)
    assert await bench.done() == [0, 9]


async def test_a_delayed_job_waits_and_priorities_are_kept(bench: Bench) -> None:
    registry = JobRegistry(JobQueue("one", concurrency=1, total_concurrency=1))
    order: list[int] = []

    @registry.job(queue="one")
    async def work(number: int) -> None:
        order.append(number)

    async with bench.jobs(registry) as jobs:
        later = await jobs.enqueue(work, number=0, delay=timedelta(hours=1))
        ids = [await jobs.enqueue(work, number=priority, priority=priority) for priority in (3, 1, 2)]
        async with bench.worker(jobs):
            for job_id in ids:
                await finished(jobs, job_id)
        assert order == [1, 2, 3]
        assert (await jobs.info(later)).status == "queued"


async def test_progress_is_seen_while_a_job_runs(bench: Bench) -> None:
    registry = JobRegistry()
    go_on = asyncio.Event()

    @registry.job()
    async def work(run: JobRun) -> None:
        await run.progress(0.25)
        await go_on.wait()
        with pytest.raises(ValueError, match="between 0 and 1"):
            await run.progress(1.5)

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        job_id = await jobs.enqueue(work)

        async def told() -> bool:
            return (await jobs.info(job_id)).progress == 0.25

        await until(told)
        assert (await jobs.info(job_id)).status == "running"
        assert (await jobs.info(job_id)).attempts == 1
        go_on.set()
        assert (await finished(jobs, job_id)).status == "succeeded"


async def test_a_deploy_runs_what_waits_with_the_new_code_and_what_this_code_does_not_know_yet_waits(
    bench: Bench,
) -> None:
    old, new = JobRegistry(), JobRegistry()
    ran: list[str] = []

    @old.job(name="greet")
    async def old_greet(name: str) -> None:
        ran.append(f"old {name}")

    @old.job()
    async def unknown_to_new() -> None:
        ran.append("unknown")

    @new.job(name="greet")
    async def new_greet(name: str, politely: bool = True) -> None:
        ran.append(f"new {name} {politely}")

    async with bench.jobs(old) as jobs:
        greeting = await jobs.enqueue(old_greet, name="Ann")
        unknown = await jobs.enqueue(unknown_to_new)
    async with bench.jobs(new) as jobs, bench.worker(jobs):
        assert (await finished(jobs, greeting)).status == "succeeded"

        async def has_failed_once() -> bool:
            return (await jobs.info(unknown)).error is not None

        await until(has_failed_once)
        assert (await jobs.info(unknown)).error == "There is no job 'unknown_to_new' in this version"
    assert ran == ["new Ann True"]
    async with bench.jobs(old) as jobs, bench.worker(jobs):
        assert (await finished(jobs, unknown)).status == "succeeded"
    assert ran == ["new Ann True", "unknown"]


async def test_what_no_code_knows_any_more_fails_in_the_end_and_is_kept(bench: Bench) -> None:
    old, new = JobRegistry(), JobRegistry()
    ran: list[str] = []

    @old.job()
    async def removed() -> None:
        ran.append("removed")

    async with bench.jobs(old) as jobs:
        job_id = await jobs.enqueue(removed)
    # By this clock every pause is over.
    async with bench.jobs(new, clock=lambda: 0.0) as jobs, bench.worker(jobs):
        info = await finished(jobs, job_id)
        assert (info.status, info.error) == ("failed", "There is no job 'removed' in this version")
    assert ran == []
    async with bench.jobs(old) as jobs, bench.worker(jobs):
        await jobs.retry(job_id)

        async def succeeded() -> bool:
            return (await jobs.info(job_id)).status == "succeeded"

        await until(succeeded)
    assert ran == ["removed"]


async def test_old_jobs_are_forgotten(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job()
    async def work() -> None: ...

    async with bench.jobs(registry) as jobs:
        async with bench.worker(jobs):
            done = await jobs.enqueue(work)
            await finished(jobs, done)
        waiting = await jobs.enqueue(work)
        assert await jobs.forget_finished(older_than=timedelta(hours=1)) == 0
        assert await jobs.forget_finished(older_than=timedelta(hours=-1)) == 1
        assert [info.id for info in await jobs.list()] == [waiting]
        assert [info.id for info in await jobs.list(status="queued")] == [waiting]
        assert await jobs.list(status="succeeded") == []


async def test_the_end_waits_for_an_attempt_and_not_for_a_pause(bench: Bench) -> None:
    registry = JobRegistry()
    began = asyncio.Event()

    @registry.job()
    async def slow(session: Session) -> None:
        began.set()
        await asyncio.sleep(0.3)
        session.add(Done(number=1))

    @registry.job(attempts=2, backoff_seconds=3_600)
    async def pausing() -> None:
        raise JobError("later")

    async with bench.jobs(registry) as jobs:
        with logged() as records:
            async with bench.worker(jobs):
                pause = await jobs.enqueue(pausing)
                job_id = await jobs.enqueue(slow)
                await began.wait()

                async def pauses() -> bool:
                    return (await jobs.info(pause)).error == "later"

                await until(pauses)
        assert not records.fields("jobs_left_to_others")
        assert (await jobs.info(job_id)).status == "succeeded"
    assert await bench.done() == [1]


async def test_wrong_arguments_are_refused_when_they_are_given(bench: Bench) -> None:
    registry, other = JobRegistry(), JobRegistry()

    @registry.job()
    async def work(number: int, session: Session) -> None: ...

    @other.job()
    async def foreign() -> None: ...

    async with bench.jobs(registry) as jobs:
        for wrong in ({}, {"number": "canary"}, {"number": 1, "more": 2}):
            with pytest.raises(TypeError, match="do not fit") as refused:
                await jobs.enqueue(work, **wrong)
            assert "canary" not in str(refused.value)
        with pytest.raises(ValueError, match="not a job of this registry"):
            await jobs.enqueue(foreign)
        for options in (
            {"priority": -1},
            {"priority": 2**31},
            {"delay": timedelta(seconds=-1)},
            {"delay": timedelta.max},
        ):
            with pytest.raises(ValueError, match="36,500 days"):
                await jobs.enqueue(work, number=1, **options)
        assert await jobs.list() == []


async def test_a_database_that_is_away_is_an_outage_and_no_crash() -> None:
    registry = JobRegistry()

    @registry.job()
    async def work() -> None: ...

    url = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/nothing"
    async with open_database(url) as database, open_durable_jobs(registry, database, url) as jobs:
        for call in (
            jobs.enqueue(work),
            jobs.info("a-job"),
            jobs.list(),
            jobs.figures(),
            jobs.cancel("a-job"),
            jobs.retry("a-job"),
            jobs.forget_finished(older_than=timedelta(days=1)),
        ):
            with pytest.raises(ServiceUnavailable):
                await call


async def test_a_job_of_a_savepoint_runs_when_its_transaction_is_committed_and_then_at_once(bench: Bench) -> None:
    registry = JobRegistry()
    ran = asyncio.Event()

    @registry.job()
    async def work() -> None:
        ran.set()

    # Whoever is not told of it would look a minute later.
    async with bench.jobs(registry) as jobs, bench.worker(jobs, poll_seconds=60):
        # The worker's first look is over.
        await asyncio.sleep(1)
        async with bench.database.session() as session:
            async with session.begin_nested():
                await jobs.enqueue(work, session=session)
            await asyncio.sleep(0.2)
            assert not ran.is_set()
        await asyncio.wait_for(ran.wait(), 20)


async def test_a_scheduled_job_is_enqueued_by_itself(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(schedule="* * * * * *")
    async def tick(session: Session) -> None:
        session.add(Done(number=1))

    async with bench.jobs(registry) as jobs, bench.worker(jobs):

        async def ticked_twice() -> bool:
            return len(await bench.done()) >= 2

        await until(ticked_twice)
        assert {info.name for info in await jobs.list()} == {"tick"}


async def test_a_schedule_that_cannot_be_read_is_refused_at_the_start(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(schedule="61 * * * *")
    async def never() -> None: ...

    with pytest.raises(ValueError, match="The schedule of the job 'never' cannot be read: '61"):
        async with bench.jobs(registry):
            raise AssertionError


async def test_a_schedule_that_the_code_no_longer_has_is_removed(bench: Bench) -> None:
    old, new = JobRegistry(), JobRegistry()

    @old.job(schedule="* * * * * *")
    async def tick() -> None: ...

    @new.job(schedule="0 0 1 1 *")
    async def yearly() -> None: ...

    schema = None if bench.url.startswith("sqlite") else "dbos"
    kept = table("workflow_schedules", column("schedule_name"), schema=schema)

    async def schedules() -> set[str]:
        async with bench.database.session() as session:
            return set(await session.scalars(select(kept.c.schedule_name)))

    async with bench.jobs(old) as jobs, bench.worker(jobs):

        async def is_there() -> bool:
            return await schedules() == {"tick"}

        await until(is_there)
    async with bench.jobs(new) as jobs, bench.worker(jobs):

        async def is_replaced() -> bool:
            return await schedules() == {"yearly"}

        await until(is_replaced)


async def test_a_queue_runs_as_many_at_once_as_it_may_and_no_more(bench: Bench) -> None:
    # The default concurrency is more than the total: the lower one counts.
    registry = JobRegistry(JobQueue("three", concurrency=3), JobQueue("two", total_concurrency=2))
    running = {"three": 0, "two": 0}
    most = dict(running)

    async def work(queue: str) -> None:
        running[queue] += 1
        most[queue] = max(most[queue], running[queue])
        await asyncio.sleep(0.02)
        running[queue] -= 1

    @registry.job(queue="three")
    async def one_of_three() -> None:
        await work("three")

    @registry.job(queue="two")
    async def one_of_two() -> None:
        await work("two")

    async with bench.jobs(registry) as jobs:
        async with bench.database.session() as session:
            ids = [await jobs.enqueue(job, session=session) for job in (one_of_three, one_of_two) for _ in range(10)]
        async with bench.worker(jobs):
            for job_id in ids:
                assert (await finished(jobs, job_id)).status == "succeeded"
    assert most == {"three": 3, "two": 2}


async def test_what_waits_in_a_queue_that_the_code_no_longer_has_is_run(bench: Bench) -> None:
    old, new = JobRegistry(JobQueue("former")), JobRegistry()

    @old.job(name="work", queue="former")
    async def old_work() -> None: ...

    @new.job(name="work")
    async def new_work() -> None: ...

    async with bench.jobs(old) as jobs:
        async with bench.worker(jobs):
            await finished(jobs, await jobs.enqueue(old_work))
        waiting = await jobs.enqueue(old_work)
    async with bench.jobs(new) as jobs, bench.worker(jobs):
        assert (await finished(jobs, waiting)).status == "succeeded"


async def test_every_change_of_a_job_is_told_and_a_failure_to_tell_changes_nothing(bench: Bench) -> None:
    registry = JobRegistry()
    failures = iter([True, False])

    @registry.job(attempts=2, backoff_seconds=0)
    async def fails_once() -> None:
        if next(failures):
            raise JobError("Not yet")

    @registry.job(attempts=1)
    async def fails() -> None:
        raise GiveUp("Never")

    told: list[tuple[str, str, int, str | None, str | None]] = []

    async def tell(change: JobChange) -> None:
        told.append((change.name, change.status, change.attempt, change.error, change.principal))
        raise RuntimeError("Nobody listens")

    async with bench.jobs(registry) as jobs:
        context.principal.set("user:7")
        first = await jobs.enqueue(fails_once)
        async with open_worker(jobs, state={"database": bench.database}, poll_seconds=0.05, on_change=tell):
            assert (await finished(jobs, first)).status == "succeeded"
            second = await jobs.enqueue(fails)
            assert (await finished(jobs, second)).status == "failed"
    context.principal.set(None)
    assert told == [
        ("fails_once", "running", 1, None, "user:7"),
        ("fails_once", "queued", 1, "Not yet", "user:7"),
        ("fails_once", "running", 2, None, "user:7"),
        ("fails_once", "succeeded", 2, None, "user:7"),
        ("fails", "running", 1, None, "user:7"),
        ("fails", "failed", 1, "Never", "user:7"),
    ]


async def test_jobs_that_touch_the_same_rows_do_not_make_each_other_fail(bench: Bench) -> None:
    registry = JobRegistry()

    @registry.job(exactly_once=True)
    async def work(number: int, session: Session) -> None:
        await session.scalar(select(func.count()).select_from(Done))
        await asyncio.sleep(0.05)
        session.add(Done(number=number))

    async with bench.jobs(registry) as jobs, bench.worker(jobs):
        job_ids = [await jobs.enqueue(work, number=number) for number in range(20)]
        infos = [await finished(jobs, job_id) for job_id in job_ids]
    assert {(info.status, info.attempts) for info in infos} == {("succeeded", 1)}
    assert await bench.done() == list(range(20))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_failure_that_cannot_be_noted_at_once_is_not_the_end_of_the_job(
    bench: Bench, exactly_once: bool
) -> None:
    registry = JobRegistry()
    runs: list[int] = []
    url = make_url(bench.url)
    with Network.started() as network, logged() as records:
        link = network.link("worker>postgres", Path(str(url.query["host"])) / ".s.PGSQL.5432")

        @registry.job(attempts=3, backoff_seconds=0, exactly_once=exactly_once)
        async def work(run: JobRun) -> None:
            runs.append(run.attempt)
            if len(runs) == 1:
                link.cut()
                raise JobError("The database has gone away")

        by_link = url.set(host="127.0.0.1", port=link.port, query={})
        async with (
            open_database(by_link) as database,
            open_durable_jobs(registry, database, by_link) as broken,
            bench.jobs(registry) as jobs,
            open_worker(broken, state={"database": database}, poll_seconds=0.05),
        ):
            job_id = await jobs.enqueue(work)
            await until(lambda: is_away(link))

            async def is_lost() -> bool:
                return bool(records.fields("worker_lost"))

            await until(is_lost)
            link.heal()
            info = await finished(jobs, job_id)
    assert info.status == "succeeded"
    assert len(runs) == 2


async def is_away(link: Link) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", link.port)
    except OSError:
        return True
    writer.close()
    return False


async def test_whoever_forgot_the_tables_is_told_what_makes_them(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/empty.db"
    registry = JobRegistry()
    async with open_database(url) as database, open_durable_jobs(registry, database, url) as jobs:
        with pytest.raises(RuntimeError, match=r"await migrate\(url\)"):
            async with open_worker(jobs, state={}):
                await asyncio.sleep(30)


async def test_a_worker_may_be_stopped_while_it_starts(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    registry = JobRegistry()

    @registry.job()
    async def work(session: Session, number: int) -> None:
        session.add(Done(number=number))

    async with bench.jobs(registry) as jobs:
        for steps in range(10):
            with suppress(TimeoutError):
                async with asyncio.timeout(steps * 0.01), bench.worker(jobs):
                    await asyncio.sleep(30)
        # The last one has left nothing that keeps another from working.
        async with bench.worker(jobs):
            await finished(jobs, await jobs.enqueue(work, number=7))
    assert await bench.done() == [7]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_database_in_memory_is_refused() -> None:
    url = "sqlite+aiosqlite://"
    async with open_database(url) as database:
        with pytest.raises(ValueError, match="outlives a connection"):
            async with open_durable_jobs(JobRegistry(), database, url):
                pass


async def test_what_is_no_job_is_not_enqueued(bench: Bench) -> None:
    async def plain() -> None: ...

    async with bench.jobs(JobRegistry()) as jobs:
        with pytest.raises(TypeError, match="is not a job"):
            await jobs.enqueue(plain)  # type: ignore[arg-type]
