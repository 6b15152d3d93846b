"""Durable jobs on a database, with a worker when a test asks for one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hardpoint.clock import Clock, wall_clock
from hardpoint.db import Database
from hardpoint.jobs import JobRegistry
from hardpoint.jobs.durable import DurableJobs, JobInfo, open_durable_jobs
from hardpoint.jobs.worker import open_worker


class Base(DeclarativeBase): ...


class Done(Base):
    """What jobs have done."""

    __tablename__ = "done"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]


class Started(Base):
    """What jobs have begun."""

    __tablename__ = "started"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    worker: Mapped[int]
    """The process."""


class Bench:
    """A database with jobs, and a worker when it is asked for."""

    def __init__(self, database: Database, url: str, folder: Path) -> None:
        self.database = database
        self.url = url
        self.folder = folder

    @asynccontextmanager
    async def jobs(self, registry: JobRegistry, *, clock: Clock = wall_clock) -> AsyncIterator[DurableJobs]:
        async with open_durable_jobs(registry, self.database, self.url, clock=clock) as jobs:
            yield jobs

    def worker(self, jobs: DurableJobs, **options: Any) -> AbstractAsyncContextManager[None]:
        state = {"database": self.database, "jobs": jobs}
        return open_worker(jobs, state=state, **{"poll_seconds": 0.05, **options})

    async def done(self) -> list[int]:
        async with self.database.session() as session:
            return sorted((await session.scalars(select(Done.number))).all())

    async def count_done(self) -> int:
        async with self.database.session() as session:
            return (await session.scalars(select(func.count()).select_from(Done))).one()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.05)


async def finished(jobs: DurableJobs, job_id: str) -> JobInfo:
    async def has_ended() -> bool:
        return (await jobs.info(job_id)).finished_at is not None

    await until(has_ended)
    return await jobs.info(job_id)
