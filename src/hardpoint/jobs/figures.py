"""How many jobs wait, run and have failed, and how long they take: for whoever watches them.

The engine's client lists jobs one by one; these are counted by the database, over the engine's indexes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from hardpoint.jobs.info import JobStatus
from hardpoint.jobs.table import STATUSES, workflow_status

__all__ = ["JobCount", "JobFigures", "Latency", "read_figures"]

# Those that succeeded are many, and nobody has to do anything about them.
_COUNTED: Final = [theirs for theirs, ours in STATUSES.items() if ours in {"queued", "running", "failed"}]
_WAITING: Final = ("ENQUEUED", "DELAYED")


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs of one name have one status."""

    name: str
    status: JobStatus
    count: int


@dataclass(frozen=True, slots=True)
class Latency:
    """How long jobs took, from when they were due to when they ended, in seconds."""

    mean_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class JobFigures:
    """The jobs of a database at one moment.

    Attributes:
        counts: Those that are queued, running or have failed, by name and status; no entry means none.
        overdue_seconds: By name, for how long the first in line could have begun.
        latencies: By name, of those that succeeded recently.
    """

    counts: tuple[JobCount, ...]
    overdue_seconds: Mapping[str, float]
    latencies: Mapping[str, Latency]


async def read_figures(engine: AsyncEngine, *, now: float, recent_seconds: int) -> JobFigures:
    """The figures of the jobs in the database of `engine`.

    Args:
        engine: The application's engine.
        now: Seconds since the epoch.
        recent_seconds: Over which time latencies are told.
    """
    jobs = workflow_status(engine.dialect.name)
    name: ColumnElement[str] = func.coalesce(jobs.c.attributes["job"].as_string(), jobs.c.schedule_name, jobs.c.name)
    due: ColumnElement[int] = func.coalesce(jobs.c.delay_until_epoch_ms, jobs.c.created_at)
    took: ColumnElement[int] = jobs.c.completed_at - due
    milliseconds = int(now * 1_000)
    first = func.min(case((jobs.c.status.in_(_WAITING), due)))
    present = (
        select(name, jobs.c.status, func.count(), first)
        .where(jobs.c.status.in_(_COUNTED))
        .group_by(name, jobs.c.status)
    )
    ended = (
        select(name, func.avg(took), func.max(took))
        .where(jobs.c.completed_at >= milliseconds - recent_seconds * 1_000, jobs.c.status == "SUCCESS")
        .group_by(name)
    )
    counts: dict[tuple[str, JobStatus], int] = {}
    overdue: dict[str, float] = {}
    async with engine.connect() as connection:
        for job, status, count, oldest in await connection.execute(present):
            key = (job, STATUSES[status])
            counts[key] = counts.get(key, 0) + count
            if oldest is not None:
                overdue[job] = max(overdue.get(job, 0.0), (milliseconds - oldest) / 1_000)
        latencies = {
            job: Latency(float(mean) / 1_000, float(longest) / 1_000)
            for job, mean, longest in await connection.execute(ended)
        }
    return JobFigures(tuple(JobCount(*key, count) for key, count in counts.items()), overdue, latencies)
