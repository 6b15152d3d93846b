"""What has to be cleared away every so often, by one process whichever it is."""

from datetime import timedelta
from typing import Final

from hardpoint.jobs.durable import Durable

from hardpoint.service.jobs.registry import jobs

__all__ = ["forget_jobs"]

_JOBS_ARE_KEPT: Final = timedelta(days=7)


@jobs.job(schedule="47 * * * *")
async def forget_jobs(durable: Durable) -> None:
    """Remove the jobs that ended a week ago."""
    while await durable.forget_finished(older_than=_JOBS_ARE_KEPT):
        pass
