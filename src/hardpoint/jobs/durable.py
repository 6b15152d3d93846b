"""Durable jobs for an application: enqueued with the data, looked at, cancelled, tried again."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Depends
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from hardpoint import context
from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.db import Database
from hardpoint.db.session import TranslatedErrors
from hardpoint.errors import Conflict, NotFound
from hardpoint.jobs.definitions import DEFAULT_QUEUE, Job, JobRegistry
from hardpoint.jobs.engine import Engine, is_migrated, migrate
from hardpoint.jobs.figures import JobCount, JobFigures, Latency, read_figures
from hardpoint.jobs.info import JobInfo, JobStatus
from hardpoint.jobs.schedules import check_schedules
from hardpoint.log import get_logger
from hardpoint.scope import of_lifespan
from hardpoint.tracing import carried

__all__ = [
    "DurableJobs",
    "JobCount",
    "JobFigures",
    "JobInfo",
    "JobStatus",
    "Latency",
    "get_durable_jobs",
    "is_migrated",
    "migrate",
    "open_durable_jobs",
]

logger = get_logger("hardpoint.jobs")


_MAX_PRIORITY: Final = 2**31 - 1
# What is due after the year 9999 no `datetime` could tell, nor a list with it.
_MAX_DELAY: Final = timedelta(days=36_500)


class DurableJobs:
    """The jobs of an application, in its database; make it with `open_durable_jobs`.

    When the database cannot be reached, every method raises `ServiceUnavailable`.

    Args:
        registry: The declared jobs.
        engine: The engine.
        database: The application's database.
        clock: Seconds since the epoch.
    """

    def __init__(self, registry: JobRegistry, engine: Engine, database: Database, *, clock: Clock = wall_clock) -> None:
        self.registry = registry
        self.engine = engine
        self.database = database
        self.clock = clock

    async def enqueue(
        self,
        job: Job[Any],
        *,
        session: AsyncSession | None = None,
        delay: timedelta = timedelta(0),
        priority: int = 0,
        idempotency_key: str | None = None,
        **arguments: Any,
    ) -> str:
        """Add a job to its queue; its id.

        With a session it is part of the session's transaction: rolled back, it never was; committed, it will run. The
        request's id and principal go along, and its trace.

        Args:
            job: A job of this registry.
            session: A session on the application's database; without one, a transaction of its own.
            delay: How long the job waits at least; 0 to 36,500 days.
            priority: Jobs with a lower number go first; 0 to 2,147,483,647.
            idempotency_key: Enqueued again with the same key, the job stays the one that it was.
            **arguments: The job's own arguments.

        Raises:
            TypeError: It is no job, or the arguments do not fit it.
            ValueError: The job is not one of this registry, or the delay or the priority is out of range.
            ServiceUnavailable: The database cannot be reached.
        """
        if not isinstance(job, Job):
            raise TypeError(f"{job!r} is not a job; a registry's `job()` makes one of an async function")
        if self.registry.get(job.name) is not job:
            raise ValueError(f"{job!r} is not a job of this registry")
        if not timedelta(0) <= delay <= _MAX_DELAY or not 0 <= priority <= _MAX_PRIORITY:
            raise ValueError("A delay is 0 to 36,500 days, and a priority between 0 and 2,147,483,647")
        encoded = job.call.encode(arguments)
        job_id = secrets.token_hex(16)
        if idempotency_key is not None:
            job_id = sha256(f"{job.name}\x00{idempotency_key}".encode()).hexdigest()[:32]
        options: dict[str, Any] = {
            "job_id": job_id,
            "name": job.name,
            "queue": job.queue,
            "arguments": encoded,
            "context": {"request_id": context.request_id.get(), "principal": context.principal.get(), **carried()},
            "delay_seconds": delay.total_seconds(),
            "priority": priority,
        }
        if session is not None:
            await self.engine.enqueue(session, **options)
        else:
            async with self.database.session() as own:
                await self.engine.enqueue(own, **options)
        logger.info("job_enqueued", job=job.name, job_id=job_id)
        return job_id

    async def info(self, job_id: str) -> JobInfo:
        """The job with this id.

        Raises:
            NotFound: There is none.
        """
        if not _can_be_stored(job_id):
            raise NotFound
        with TranslatedErrors():
            found = await self.engine.info(job_id)
        if found is None:
            raise NotFound
        return found

    async def list(self, *, status: JobStatus | None = None, limit: int = 100) -> list[JobInfo]:
        """The newest jobs, newest first, of one status if one is given."""
        with TranslatedErrors():
            return await self.engine.infos(status=status, limit=limit)

    async def figures(self, *, recent_seconds: int = 300) -> JobFigures:
        """How many jobs wait, run and have failed, how long the first in line waits, and how long they took recently.

        Args:
            recent_seconds: Over which time latencies are told.
        """
        with TranslatedErrors():
            return await read_figures(self.database.engine, now=self.clock(), recent_seconds=recent_seconds)

    async def cancel(self, job_id: str) -> None:
        """Do not begin the job, or stop it: an attempt that is under way is cancelled within two seconds.

        Raises:
            NotFound: There is none.
            Conflict: It has ended.
        """
        found = await self.info(job_id)
        if found.finished_at is not None or found.status not in {"queued", "running"}:
            how = "was cancelled" if found.status == "cancelled" else f"has {found.status}"
            raise Conflict(f"The job {how} already", code="JOB_FINISHED")
        with TranslatedErrors():
            await self.engine.cancel(job_id)
        logger.info("job_cancelled", job=found.name, job_id=job_id)

    async def retry(self, job_id: str) -> None:
        """Begin a failed or cancelled job from its first attempt.

        Raises:
            NotFound: There is none.
            Conflict: It has not failed.
        """
        found = await self.info(job_id)
        if found.status not in {"failed", "cancelled"}:
            raise Conflict("Only a failed or cancelled job can be tried again", code="JOB_NOT_FAILED")
        job = self.registry.get(found.name)
        if not await self.engine.retry(job_id, DEFAULT_QUEUE if job is None else job.queue):
            raise Conflict("Somebody else has begun it again", code="JOB_NOT_FAILED")
        logger.info("job_retried", job=found.name, job_id=job_id)

    async def forget_finished(self, *, older_than: timedelta) -> int:
        """Remove jobs that ended so long ago; how many, at most a thousand in one call."""
        moment: datetime = utc_datetime(self.clock()) - older_than
        with TranslatedErrors():
            return await self.engine.forget_before(moment)


def _can_be_stored(text: str) -> bool:
    """Whether a database can be asked for `text`: not with half a surrogate pair, nor PostgreSQL with a NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@asynccontextmanager
async def open_durable_jobs(
    registry: JobRegistry, database: Database, url: str | URL, *, clock: Clock = wall_clock
) -> AsyncIterator[DurableJobs]:
    """The durable jobs of `registry` in `database`, whose URL is `url`; they are run by `open_worker`.

    As a resource: `Resource("jobs", lambda opened: open_durable_jobs(registry, opened[database], url))`.

    Args:
        registry: The declared jobs.
        database: The application's database, a SQLite file or PostgreSQL.
        url: Its URL, password included.
        clock: Seconds since the epoch; what the pauses between attempts are counted from.

    Raises:
        ValueError: A schedule cannot be read, or the database is in memory.
    """
    check_schedules(list(registry))
    engine = Engine(database.engine, url)
    try:
        yield DurableJobs(registry, engine, database, clock=clock)
    finally:
        await engine.close()


async def get_durable_jobs(connection: HTTPConnection) -> DurableJobs:
    """The `DurableJobs` that the lifespan holds under the name `jobs`."""
    jobs: DurableJobs = of_lifespan(connection.scope, "jobs")
    return jobs


Durable = Annotated[DurableJobs, Depends(get_durable_jobs)]
"""The application's durable jobs."""
