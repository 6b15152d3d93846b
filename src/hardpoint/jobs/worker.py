"""Running durable jobs: one worker or many, each of which takes over what a dead one had begun."""

import asyncio
import fcntl
import os
import secrets
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hardpoint.aio import is_wanted, running
from hardpoint.arguments import check_argument
from hardpoint.jobs.attempts import JobChange, OnChange, Runner
from hardpoint.jobs.durable import DurableJobs
from hardpoint.jobs.execution import Executions
from hardpoint.jobs.executor import executing
from hardpoint.log import get_logger

__all__ = ["JobChange", "open_worker"]

logger = get_logger("hardpoint.jobs")

_WATCH_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 10.0
_LET_GO_SECONDS = 20.0
_AGAIN_SECONDS: Final = 1.0
_EMBEDDED: Final = "embedded"


@asynccontextmanager
async def open_worker(
    jobs: DurableJobs,
    *,
    state: Mapping[str, Any],
    poll_seconds: float = 0.5,
    drain_seconds: float = 8.0,
    silence_seconds: float = 15.0,
    on_change: OnChange | None = None,
) -> AsyncIterator[None]:
    """Run the jobs of `jobs` in this process meanwhile; at the end those that run are waited for.

    On PostgreSQL any number of workers run at once. Each holds an advisory lock, which the server takes from it when it
    dies; another one sees that within two seconds and takes over what it had begun. A worker that loses its lock
    without dying, because the database was restarted or could not be reached, stops what it runs, which others may be
    doing already, and goes on as a new worker when the database is back. If what waits for the old one does not let go
    within 20 seconds, the process ends with status 1. On SQLite one worker runs at a time: whoever holds the lock on a
    file beside the database's; the others wait for it.

    Args:
        jobs: The jobs.
        state: The lifespan's state, for the jobs' dependencies.
        poll_seconds: How often to look for waiting jobs. What this process itself enqueues is seen at once.
        drain_seconds: How long to wait for running ones at the end, before they are stopped and left to another worker;
            some seconds less than the `close_timeout_seconds` of the resource.
        silence_seconds: PostgreSQL: after which a database that does not answer counts as lost.
        on_change: Called with each `JobChange`, at least once, and waited for five seconds at most; what it raises is
            logged. A client that is told of the end may be some milliseconds ahead of `DurableJobs.info`.

    Raises:
        ValueError: A time is out of its range.
        TypeError: The state is something else.
    """
    check_argument("state", state, Mapping, "the lifespan's, state=opened.state")
    if not poll_seconds > 0 or not silence_seconds > 0 or not drain_seconds >= 0:
        raise ValueError("poll_seconds and silence_seconds must be more than 0, and drain_seconds not less")
    worker = _Worker(
        jobs,
        Runner(jobs, state, on_change),
        poll_seconds=poll_seconds,
        drain_seconds=drain_seconds,
        silence_seconds=silence_seconds,
    )
    if jobs.database.engine.dialect.name == "sqlite":
        async with running(worker.work_when_alone()):
            yield
        return
    begun = asyncio.Event()
    async with running(worker.work_among_others(begun)):
        await begun.wait()
        yield


class _Worker:
    def __init__(
        self, jobs: DurableJobs, runner: Runner, *, poll_seconds: float, drain_seconds: float, silence_seconds: float
    ) -> None:
        self._jobs = jobs
        self._runner = runner
        self._poll_seconds = poll_seconds
        self._drain_seconds = drain_seconds
        self._silence_seconds = silence_seconds
        self._end: threading.Timer | None = None

    async def work_when_alone(self) -> None:
        """On SQLite."""
        with Path(f"{self._jobs.database.engine.url.database}.worker").open("a") as file:  # noqa: ASYNC230 - once, and empty.
            await _lock(file.fileno())
            async with self._working(_EMBEDDED, self._executions(_EMBEDDED)):
                await asyncio.Event().wait()

    async def work_among_others(self, begun: asyncio.Event) -> None:
        """On PostgreSQL.

        Args:
            begun: Set when the first job may run.
        """
        # A connection of its own: its end is what tells others of this worker's.
        engine = create_async_engine(self._jobs.database.engine.url, poolclass=NullPool)
        try:
            while True:
                # As another one each time: who was taken for dead may have jobs that others have by now.
                executor_id = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
                try:
                    await self._work_as(executor_id, engine, begun)
                except Exception:
                    if not begun.is_set():
                        raise
                    logger.exception("worker_lost", worker=executor_id)
                finally:
                    if self._end is not None:
                        self._end.cancel()
                await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            await engine.dispose()

    async def _work_as(self, executor_id: str, engine: AsyncEngine, begun: asyncio.Event) -> None:
        executions = self._executions(executor_id)
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await engine.connect()
        try:
            await _hold_lock(connection, executor_id)
            # Others are watched while this one drains, too.
            async with (
                running(self._watch(connection, executor_id, executions)),
                self._working(executor_id, executions),
            ):
                begun.set()
                await asyncio.Event().wait()
        finally:
            await connection.close()

    def _executions(self, executor_id: str) -> Executions:
        return Executions(self._runner, self._jobs.engine.table, executor_id)

    @asynccontextmanager
    async def _working(self, executor_id: str, executions: Executions) -> AsyncIterator[None]:
        registry = self._jobs.registry
        async with executing(
            self._jobs.engine,
            executions,
            {job.name: job for job in registry},
            executor_id=executor_id,
            queues=list(registry.queues.values()),
            poll_seconds=self._poll_seconds,
            drain_seconds=self._drain_seconds,
        ):
            logger.info("worker_started", worker=executor_id)
            yield

    async def _watch(self, connection: AsyncConnection, executor_id: str, executions: Executions) -> None:
        try:
            while is_wanted():
                # Packets that nobody answers are sent again for a quarter of an hour before the system gives up.
                async with asyncio.timeout(self._silence_seconds):
                    await self._take_over(connection, executor_id)
                await asyncio.sleep(_WATCH_SECONDS)
        except Exception:
            executions.abandon()
            # The engine's threads may wait for the database for ever, and nothing could go on or end in their place.
            self._end = threading.Timer(_LET_GO_SECONDS, os._exit, (1,))
            self._end.daemon = True
            self._end.start()
            raise

    async def _take_over(self, connection: AsyncConnection, executor_id: str) -> None:
        """Take over what the dead have begun. Raises when this worker itself would be taken for dead."""
        table = self._jobs.engine.table
        for other in await table.busy_executors() - {executor_id}:
            key = {"key": _lock_key(other)}
            if (await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key)).scalar():
                logger.warning("worker_taken_over", worker=other, by=executor_id)
                await table.give_back(other)
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
        await connection.execute(text("SELECT 1"))
        await connection.commit()


async def _lock(file: int) -> None:
    waits = False
    while True:
        try:
            # The system gives it back when the process ends, however that happens.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                logger.info("worker_waits", reason="another process runs the jobs of this database")
            waits = True
            await asyncio.sleep(_WATCH_SECONDS)
        else:
            return


async def _hold_lock(connection: AsyncConnection, executor_id: str) -> None:
    # So that the server notices within ten seconds when the whole machine is gone, and says nothing any more.
    for setting, value in (("idle", 4), ("interval", 2), ("count", 3)):
        await connection.execute(text(f"SET tcp_keepalives_{setting} = {value}"))
    await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _lock_key(executor_id)})
    await connection.commit()


def _lock_key(executor_id: str) -> int:
    digest = blake2b(f"hardpoint worker {executor_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
