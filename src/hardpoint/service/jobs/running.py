"""Durable jobs as resources: what queues them, and what runs them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from hardpoint.db import Database
from hardpoint.jobs.durable import DurableJobs, open_durable_jobs
from hardpoint.jobs.worker import open_worker
from hardpoint.lifespan import Opened, Resource
from hardpoint.realtime import Hub  # new: realtime

from hardpoint.service.database import open_engine
from hardpoint.service.jobs import housekeeping  # noqa: F401 - declares its jobs, as the two below do.
from hardpoint.service.jobs.registry import jobs
from hardpoint.service.live import announcing  # noqa: F401  # new: realtime
from hardpoint.service.live.job_changes import tells_owner  # new: realtime
from hardpoint.service.posts import publishing  # noqa: F401
from hardpoint.service.settings import Settings

__all__ = ["durable_jobs", "open_jobs", "worker"]

_DRAIN_SECONDS: Final = 20.0
# After it, the jobs that were stopped clear up.
_CLOSE_SECONDS: Final = 30.0


def durable_jobs(settings: Settings, database: Resource[Database]) -> Resource[DurableJobs]:
    """What queues jobs and tells of them."""
    url = settings.resolved_database_url
    return Resource("jobs", lambda opened: open_durable_jobs(jobs, opened[database], url))


def worker(
    durable: Resource[DurableJobs],
    realtime: Resource[Hub],  # new: realtime
) -> Resource[None]:
    """What runs them, as long as it is open."""

    def work(opened: Opened) -> AbstractAsyncContextManager[None]:
        return open_worker(
            opened[durable],
            state=opened.state,
            drain_seconds=_DRAIN_SECONDS,
            on_change=tells_owner(opened[realtime]),  # new: realtime
        )

    return Resource("worker", work, close_timeout_seconds=_CLOSE_SECONDS)


@asynccontextmanager
async def open_jobs(settings: Settings) -> AsyncIterator[DurableJobs]:
    """The durable jobs, for a command; nothing runs them meanwhile."""
    async with (
        open_engine(settings) as engine,
        open_durable_jobs(jobs, Database(engine), settings.resolved_database_url) as durable,
    ):
        yield durable
