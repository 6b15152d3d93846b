"""Jobs that are enqueued by themselves: the database has their schedules, and each worker a clock for each of them."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

from croniter import croniter  # type: ignore[import-untyped] # the engine's own; there are no stubs for it here.
from dbos import DBOS

from hardpoint.aio import is_wanted
from hardpoint.jobs.definitions import Job
from hardpoint.log import get_logger

__all__ = ["apply_schedules", "check_schedules", "keep_schedules"]

logger = get_logger("hardpoint.jobs")

_APPLY_SECONDS: Final = 60.0


def check_schedules(jobs: Collection[Job[Any]]) -> None:
    """Refuse what is not in cron's words: five fields, or six of which the first are seconds.

    Raises:
        ValueError: A schedule cannot be read.
    """
    for job in jobs:
        if job.schedule is not None and not croniter.is_valid(job.schedule, second_at_beginning=True):
            told = f"The schedule of the job {job.name!r} cannot be read: {job.schedule!r}"
            raise ValueError(f"{told}; write cron's five fields, such as '*/5 * * * *'")


async def apply_schedules(jobs: Collection[Job[Any]], workflow: Any) -> None:
    """Make the database's schedules those of this code."""
    wanted = {job.name: job for job in jobs if job.schedule is not None}
    present = {
        schedule["schedule_name"]: (schedule["schedule"], schedule["queue_name"])
        for schedule in await DBOS.list_schedules_async()
    }
    for name in present.keys() - wanted.keys():
        await DBOS.delete_schedule_async(name)
    await DBOS.apply_schedules_async(
        [
            {
                "schedule_name": name,
                "workflow_fn": workflow,
                "schedule": job.schedule or "",
                "context": name,
                "queue_name": job.queue,
            }
            for name, job in wanted.items()
            if present.get(name) != (job.schedule, job.queue)
        ]
    )


async def keep_schedules(jobs: Collection[Job[Any]], workflow: Any) -> None:
    """While a deploy goes on, old and new workers have different schedules, and the last to start must not decide."""
    while is_wanted():
        await asyncio.sleep(_APPLY_SECONDS)
        try:
            await apply_schedules(jobs, workflow)
        except Exception as error:  # noqa: BLE001 - the database is away; the schedules are there, and this comes again.
            logger.warning("schedules_not_applied", error=type(error).__name__)
