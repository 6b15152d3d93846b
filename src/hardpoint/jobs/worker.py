"""Running durable jobs: one worker or many, each of which takes over what a dead one had begun."""

import asyncio
import fcntl
import os
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from opentelemetry.trace import StatusCode
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from hardpoint import context
from hardpoint.aio import is_wanted, running
from hardpoint.db import session as session_dependency
from hardpoint.errors import ApiError
from hardpoint.jobs.definitions import GiveUp, JobError, RunningJob, running_job
from hardpoint.jobs.durable import DurableJobs
from hardpoint.jobs.engine import Attempt, JobStatus, Outcome
from hardpoint.log import get_logger
from hardpoint.resolving import Overrides
from hardpoint.tracing import continued

__all__ = ["JobChange", "WorkerLost", "open_worker"]

logger = get_logger("hardpoint.jobs")

_WATCH_SECONDS: Final = 2.0
_END_SECONDS: Final = 25.0
_TELL_SECONDS: Final = 5.0
_EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class JobChange:
    """Something that became of a job.

    Attributes:
        job_id: The job.
        name: What it is.
        status: `running` when an attempt begins, or has failed and will be repeated; `succeeded` or `failed` at the
            end.
        attempt: The attempt's number.
        error: Why the attempt failed; what may be told of it.
        principal: Who queued the job, such as `user:7`.
    """

    job_id: str
    name: str
    status: JobStatus
    attempt: int
    error: str | None
    principal: str | None


OnChange = Callable[[JobChange], Awaitable[None]]


class WorkerLost(Exception):
    """The worker has lost its lock, and ends."""


class _Runner:
    """Makes attempts."""

    def __init__(self, jobs: DurableJobs, state: Mapping[str, Any], on_change: OnChange | None) -> None:
        self._jobs = jobs
        self._state = state
        self._on_change = on_change

    def exactly_once(self, name: str) -> bool:
        """Whether the job with this name runs exactly once."""
        job = self._jobs.registry.get(name)
        return job is not None and job.exactly_once

    async def tell(self, attempt: Attempt, status: JobStatus, error: str | None) -> None:
        """Tell whoever wants to know; that it cannot be told changes nothing for the job."""
        if self._on_change is None:
            return
        principal = attempt.context.get("principal")
        change = JobChange(attempt.job_id, attempt.name, status, attempt.number, error, principal)
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._on_change(change)
        except Exception as failure:  # noqa: BLE001 - see above.
            logger.warning("job_change_not_told", **_fields(attempt), error=type(failure).__name__)

    async def run(self, attempt: Attempt, session: AsyncSession | None) -> Outcome:
        """Make the attempt."""
        context.request_id.set(attempt.context.get("request_id"))
        context.principal.set(attempt.context.get("principal"))
        with continued(f"job {attempt.name}", attempt.context, _attributes(attempt)) as span:
            outcome = await self._run(attempt, session)
            if outcome.error is not None:
                # What may be told of it, no more.
                span.set_status(StatusCode.ERROR, outcome.error)
            return outcome

    async def _run(self, attempt: Attempt, session: AsyncSession | None) -> Outcome:
        job = self._jobs.registry.get(attempt.name)
        if job is None:
            return self.failed(attempt, GiveUp(f"There is no job {attempt.name!r} in this version"))

        async def tell_progress(done: float) -> None:
            await self._jobs.engine.set_progress(attempt.job_id, done)

        running_job.set(RunningJob(attempt.job_id, attempt.number, tell_progress))
        began = time.perf_counter()
        try:
            async with asyncio.timeout(job.timeout_seconds):
                await job.call.run(attempt.arguments, state=self._state, overrides=_overrides(session))
                if session is not None:
                    await session.flush()
        except Exception as error:  # noqa: BLE001 - whatever a job raises is what its attempt came to.
            return self.failed(attempt, error)
        duration = round((time.perf_counter() - began) * 1_000, 1)
        logger.info("job_succeeded", **_fields(attempt), duration_ms=duration)
        return Outcome(None)

    def failed(self, attempt: Attempt, error: Exception) -> Outcome:
        """What an attempt comes to that ended with `error`."""
        job = self._jobs.registry.get(attempt.name)
        if job is None or attempt.number >= job.attempts or isinstance(error, GiveUp):
            logger.error("job_failed", **_fields(attempt), exc_info=error)
            return Outcome(_told(error))
        pause = job.pause_after(attempt.number)
        reason = type(error).__name__
        logger.warning("job_will_retry", **_fields(attempt), error=reason, pause_seconds=round(pause, 1))
        return Outcome(_told(error), pause)


def _fields(attempt: Attempt) -> dict[str, Any]:
    return {"job": attempt.name, "job_id": attempt.job_id, "attempt": attempt.number}


def _attributes(attempt: Attempt) -> dict[str, str | int]:
    return {f"hardpoint.{name}": value for name, value in _fields(attempt).items()}


def _overrides(session: AsyncSession | None) -> Overrides | None:
    if session is None:
        return None

    async def session_of_the_attempt() -> AsyncSession:
        return session

    return Overrides({session_dependency: session_of_the_attempt})


def _told(error: Exception) -> str:
    if isinstance(error, JobError):
        return str(error) or type(error).__name__
    return str(error.detail) if isinstance(error, ApiError) else type(error).__name__


@asynccontextmanager
async def open_worker(
    jobs: DurableJobs,
    *,
    state: Mapping[str, Any],
    poll_seconds: float = 0.5,
    drain_seconds: float = 20.0,
    on_change: OnChange | None = None,
    silence_seconds: float = 15.0,
) -> AsyncIterator[None]:
    """Run the jobs of `jobs` in this process meanwhile; at the end those that run are waited for.

    On PostgreSQL any number of workers run at once. Each holds an advisory lock, which the server takes from it when it
    dies; another one sees that within two seconds and takes over what it had begun. A worker that loses its lock
    without dying, or hears nothing of the database for too long, ends its process, because others may be doing its jobs
    already: by SIGTERM, and by force when that has not ended it 25 seconds after `drain_seconds`. On SQLite one worker
    runs at a time: whoever holds the lock on a file beside the database's; the others wait for it.

    Args:
        jobs: The jobs.
        state: The lifespan's state, for the jobs' dependencies.
        poll_seconds: How often to look for waiting jobs.
        drain_seconds: How long to wait for running ones at the end, before they are left to another worker.
        on_change: Called with each `JobChange`, at least once, and waited for five seconds at most; what it raises is
            logged. A client that is told of the end may be some milliseconds ahead of `DurableJobs.info`.
        silence_seconds: PostgreSQL: after which a database that does not answer counts as lost.

    Raises:
        WorkerLost: At the end, when the lock was lost, so that the process does not end as if all were well.
    """
    runner = _Runner(jobs, state, on_change)
    if jobs.database.engine.dialect.name == "sqlite":
        async with running(_work_when_alone(jobs, runner, poll_seconds, drain_seconds)):
            yield
        return
    executor_id = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
    engine = create_async_engine(jobs.database.engine.url, poolclass=NullPool)
    watch = _Watch(jobs, executor_id, silence_seconds=silence_seconds, end_seconds=drain_seconds + _END_SECONDS)
    async with engine.connect() as connection:
        await _hold_lock(connection, executor_id)
        async with (
            jobs.engine.working(
                runner,
                executor_id=executor_id,
                queues=list(jobs.registry.queues.values()),
                schedules=_schedules(jobs),
                poll_seconds=poll_seconds,
                drain_seconds=drain_seconds,
            ),
            running(watch.run(connection)),
        ):
            logger.info("worker_started", worker=executor_id)
            yield
    await engine.dispose()
    if watch.is_lost:
        raise WorkerLost("The worker has lost its lock in the database")


def _schedules(jobs: DurableJobs) -> dict[str, tuple[str, str]]:
    return {job.name: (job.schedule, job.queue) for job in jobs.registry if job.schedule is not None}


async def _work_when_alone(jobs: DurableJobs, runner: _Runner, poll_seconds: float, drain_seconds: float) -> None:
    with Path(f"{jobs.database.engine.url.database}.worker").open("a") as file:  # noqa: ASYNC230 - once, and empty.
        waiting = False
        while True:
            try:
                # The system gives it back when the process ends, however that happens.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    logger.info("worker_waits", reason="another process runs the jobs of this database")
                waiting = True
                await asyncio.sleep(_WATCH_SECONDS)
        async with jobs.engine.working(
            runner,
            executor_id=_EMBEDDED,
            queues=list(jobs.registry.queues.values()),
            schedules=_schedules(jobs),
            poll_seconds=poll_seconds,
            drain_seconds=drain_seconds,
        ):
            logger.info("worker_started", worker=_EMBEDDED)
            await asyncio.Event().wait()


async def _hold_lock(connection: AsyncConnection, executor_id: str) -> None:
    # So that the server notices within ten seconds when the whole machine is gone, and says nothing any more.
    for setting, value in (("idle", 4), ("interval", 2), ("count", 3)):
        await connection.execute(text(f"SET tcp_keepalives_{setting} = {value}"))
    await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _lock_key(executor_id)})
    await connection.commit()


class _Watch:
    """Looks after this worker's lock, and for workers that have lost theirs."""

    def __init__(self, jobs: DurableJobs, executor_id: str, *, silence_seconds: float, end_seconds: float) -> None:
        self._jobs = jobs
        self._executor_id = executor_id
        self._silence_seconds = silence_seconds
        self._end_seconds = end_seconds
        self.is_lost = False

    async def run(self, connection: AsyncConnection) -> None:
        """Until cancelled, or until the lock is lost."""
        try:
            while is_wanted():
                # Packets that nobody answers are sent again for a quarter of an hour before the system gives up.
                async with asyncio.timeout(self._silence_seconds):
                    await self._look(connection)
                await asyncio.sleep(_WATCH_SECONDS)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("worker_lost", worker=self._executor_id)
            self.is_lost = True
            self._end_this_process()

    async def _look(self, connection: AsyncConnection) -> None:
        for other in await self._jobs.engine.busy_executors() - {self._executor_id}:
            key = {"key": _lock_key(other)}
            if (await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key)).scalar():
                logger.warning("worker_taken_over", worker=other, by=self._executor_id)
                await self._jobs.engine.take_over(other)
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
        await connection.execute(text("SELECT 1"))
        await connection.commit()

    def _end_this_process(self) -> None:
        # A thread that waits for the database outlives every other time-out, and the interpreter waits for it.
        by_force = threading.Timer(self._end_seconds, os._exit, (1,))
        by_force.daemon = True
        by_force.start()
        os.kill(os.getpid(), signal.SIGTERM)


def _lock_key(executor_id: str) -> int:
    digest = blake2b(f"hardpoint worker {executor_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
