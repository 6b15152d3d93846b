"""One attempt at a job: the function called with its context, and what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import StatusCode
from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint import context
from hardpoint.aio import is_failure
from hardpoint.db import session as session_dependency
from hardpoint.errors import ApiError
from hardpoint.jobs.definitions import GiveUp, Job, JobError, RetryPolicy, RunningJob, running_job
from hardpoint.jobs.durable import DurableJobs
from hardpoint.jobs.info import JobStatus
from hardpoint.log import get_logger
from hardpoint.resolving import Overrides
from hardpoint.tracing import continued

__all__ = ["Attempt", "JobChange", "NotOurs", "OnChange", "Outcome", "Runner"]

logger = get_logger("hardpoint.jobs")

_TELL_SECONDS: Final = 5.0
_MAX_TOLD: Final = 2_000
# While a deploy goes on, old workers see jobs that only the new code knows: they leave those for later, for about an
# hour in all, before a job counts as one that no code knows any more.
_UNKNOWN_JOB: Final = RetryPolicy(attempts=13, backoff_seconds=2, max_backoff_seconds=900)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that is to be made."""

    job_id: str
    name: str
    arguments: Mapping[str, Any]
    context: Mapping[str, str | None]
    number: int
    round: str

    def change(self, status: JobStatus, error: str | None = None) -> "JobChange":
        """What is told of it."""
        key = f"{self.job_id} {self.round} {self.number} {status}"
        return JobChange(self.job_id, self.name, status, self.number, error, self.context.get("principal"), key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to: an error's text, and after which pause to try again, or `None` to give up."""

    error: str | None = None
    pause_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class JobChange:
    """Something that became of a job.

    Attributes:
        job_id: The job.
        name: What it is.
        status: `running` when an attempt begins, `queued` when one has failed and will be repeated; at the end
            `succeeded`, `failed` or `cancelled`.
        attempt: The attempt's number.
        error: Why the attempt failed; what may be told of it.
        principal: Who queued the job, such as `user:7`.
        key: The same when a change is told again, as by a worker that takes the job over, and of no other change.
    """

    job_id: str
    name: str
    status: JobStatus
    attempt: int
    error: str | None
    principal: str | None
    key: str


OnChange = Callable[[JobChange], Awaitable[None]]


class NotOurs(Exception):
    """The job was cancelled or taken over meanwhile: what this attempt did in its transaction is rolled back."""


class Runner:
    """Makes attempts.

    Args:
        jobs: The jobs.
        state: The lifespan's state, for the jobs' dependencies.
        on_change: Called with each change of a job.
    """

    def __init__(self, jobs: DurableJobs, state: Mapping[str, Any], on_change: OnChange | None) -> None:
        self.jobs = jobs
        self.tells = on_change is not None
        self._state = state
        self._on_change = on_change

    async def tell(self, change: JobChange) -> None:
        """Tell whoever wants to know; that it cannot be told changes nothing for the job."""
        if self._on_change is None:
            return
        try:
            async with asyncio.timeout(_TELL_SECONDS):
                await self._on_change(change)
        except BaseException as failure:
            if not is_failure(failure):
                raise
            reason = type(failure).__name__
            logger.warning("job_change_not_told", job=change.name, job_id=change.job_id, error=reason)

    async def run(
        self,
        attempt: Attempt,
        *,
        note_progress: Callable[[float], Awaitable[None]],
        note_done: Callable[[AsyncSession], Awaitable[bool]],
    ) -> Outcome:
        """Make the attempt.

        Args:
            attempt: What to do.
            note_progress: Stores how much is done.
            note_done: For a job that runs exactly once: notes in a transaction that it is done; false if the job is
                somebody else's by now.
        """
        context.request_id.set(attempt.context.get("request_id"))
        context.principal.set(attempt.context.get("principal"))
        running_job.set(RunningJob(attempt.job_id, attempt.number, note_progress))
        with continued(f"job {attempt.name}", attempt.context, _attributes(attempt)) as span:
            began = time.perf_counter()
            try:
                await self._call(attempt, note_done)
            except NotOurs:
                logger.warning("job_not_ours", **fields_of(attempt))
                raise
            except BaseException as error:
                # Whatever a job raises is what its attempt came to; left alone it would run for ever.
                if not is_failure(error):
                    raise
                outcome = self._failed(attempt, error)
                # What may be told of it, no more.
                span.set_status(StatusCode.ERROR, outcome.error)
                return outcome
            duration = round((time.perf_counter() - began) * 1_000, 1)
            logger.info("job_succeeded", **fields_of(attempt), duration_ms=duration)
            return Outcome()

    async def _call(self, attempt: Attempt, note_done: Callable[[AsyncSession], Awaitable[bool]]) -> None:
        job = self.jobs.registry.get(attempt.name)
        if job is None:
            raise JobError(f"There is no job {attempt.name!r} in this version")
        async with asyncio.timeout(job.timeout_seconds):
            if job.exactly_once:
                await self._call_once(job, attempt, note_done)
            else:
                await job.call.run(attempt.arguments, state=self._state)

    async def _call_once(
        self, job: Job[Any], attempt: Attempt, note_done: Callable[[AsyncSession], Awaitable[bool]]
    ) -> None:
        # A transaction that the job itself cannot commit: then what it did and the note would be two.
        async with self.jobs.database.session() as session, session.begin():

            async def session_of_the_attempt() -> AsyncSession:
                return session

            overrides = Overrides({session_dependency: session_of_the_attempt})
            await job.call.run(attempt.arguments, state=self._state, overrides=overrides)
            await session.flush()
            if not await note_done(session):
                raise NotOurs

    def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        job = self.jobs.registry.get(attempt.name)
        policy = _UNKNOWN_JOB if job is None else job.retry
        told = _told(error)
        if attempt.number >= policy.attempts or isinstance(error, GiveUp):
            logger.error("job_failed", **fields_of(attempt), exc_info=error)
            return Outcome(told)
        pause = policy.pause_after(attempt.number)
        reason = type(error).__name__
        logger.warning("job_will_retry", **fields_of(attempt), error=reason, pause_seconds=round(pause, 1))
        return Outcome(told, pause)


def fields_of(attempt: Attempt) -> dict[str, Any]:
    """What a log line says of an attempt."""
    return {"job": attempt.name, "job_id": attempt.job_id, "attempt": attempt.number}


def _attributes(attempt: Attempt) -> dict[str, str | int]:
    return {f"hardpoint.{name}": value for name, value in fields_of(attempt).items()}


def _told(error: BaseException) -> str:
    if isinstance(error, JobError):
        text = str(error)
    elif isinstance(error, ApiError):
        text = str(error.detail)
    else:
        text = ""
    # PostgreSQL stores neither NUL nor half of a surrogate pair.
    text = text.replace("\x00", "").encode(errors="replace").decode()
    return text[:_MAX_TOLD] or type(error).__name__
