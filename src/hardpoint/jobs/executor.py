"""The engine, which is DBOS, as whoever runs jobs sees it: started and ended in this process and on this loop.

DBOS claims jobs, one of its threads for each queue, and calls `run_job` for each. What becomes of them is noted by
`Executions`, so that nothing is left for DBOS to note: its steps would cost three transactions more for each attempt,
and its sleeps a place in the queue.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Final

from dbos import DBOS, DBOSConfig, error
from dbos._queue import Queue, queue_worker_thread

from hardpoint.aio import in_thread, running
from hardpoint.jobs.definitions import Job, JobQueue
from hardpoint.jobs.engine import APPLICATION, MAX_RECOVERIES, SERIALIZER, VERSION, WORKFLOW, Engine
from hardpoint.jobs.execution import Executions
from hardpoint.jobs.schedules import apply_schedules, keep_schedules

__all__ = ["executing"]

_SCHEDULED_WORKFLOW: Final = "hardpoint.scheduled_job"
_SCHEDULE_SECONDS: Final = 2.0
# For the scheduler, for delays that are over and for the queue of DBOS's own.
_CONNECTIONS: Final = 4
# Jobs that are enqueued or end together are one look into the queue.
_GATHER_SECONDS: Final = 0.01
_one_executor: Final = threading.Lock()


class _Settled(BaseException):
    """The end of a job whose outcome is noted: nothing that DBOS catches and would note once more."""


class _Alarm(threading.Event):
    """What a thread of DBOS's sleeps on between two looks into its queue: set, it ends; rung, it looks at once."""

    def __init__(self) -> None:
        super().__init__()
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def set(self) -> None:
        super().set()
        self._rung.set()

    def wait(self, timeout: float | None = None) -> bool:
        if self._rung.wait(timeout) and not self.is_set():
            super().wait(_GATHER_SECONDS)
        self._rung.clear()
        return self.is_set()


class _Queues:
    """The threads that look into the queues."""

    def __init__(self, jobs: Mapping[str, Job[Any]]) -> None:
        self._jobs = jobs
        self._alarms: dict[str, _Alarm] = {}
        self._threads: list[threading.Thread] = []

    def look_into(self, queue: Queue, instance: DBOS) -> None:
        """Begin to look for jobs in `queue`."""
        # Its limits are those of this code, and need not be read from the database at every look.
        queue.database_backed_queue = False
        alarm = self._alarms[queue.name] = _Alarm()
        arguments = (alarm, instance, queue)
        thread = threading.Thread(target=queue_worker_thread, args=arguments, name=f"jobs-{queue.name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def ring(self, queue: str) -> None:
        """There may be work in `queue`."""
        if queue in self._alarms:
            self._alarms[queue].ring()

    def ended(self, name: str) -> None:
        """A job has ended: there is room for another one."""
        job = self._jobs.get(name)
        for queue in self._alarms if job is None else (job.queue,):
            self.ring(queue)

    def stop(self) -> None:
        """Look no more. When it returns, every job that was claimed has begun."""
        for alarm in self._alarms.values():
            alarm.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def _alone() -> Iterator[None]:
    if not _one_executor.acquire(blocking=False):
        raise RuntimeError("There is a worker in this process already, and DBOS can be but once in each")
    try:
        yield
    finally:
        _one_executor.release()


@asynccontextmanager
async def executing(
    engine: Engine,
    executions: Executions,
    jobs: Mapping[str, Job[Any]],
    *,
    executor_id: str,
    queues: Collection[JobQueue],
    poll_seconds: float,
    drain_seconds: float,
) -> AsyncIterator[None]:
    """Claim and run jobs in this process and loop meanwhile; there may be one in a process.

    Args:
        engine: The engine.
        executions: Runs them.
        jobs: The declared jobs by name.
        executor_id: This worker's id, which no other living one may have.
        queues: Where to look for jobs.
        poll_seconds: How often to look.
        drain_seconds: How long to wait for running ones at the end.

    Raises:
        RuntimeError: There is one in this process already.
    """
    with _alone():
        polls = _Queues(jobs)
        run_scheduled = _register(executions, polls)
        async with _launched(engine.url, executor_id, connections=_CONNECTIONS + len(queues)) as instance:
            try:
                for queue in await _registered(queues, poll_seconds):
                    polls.look_into(queue, instance)
                await apply_schedules(jobs.values(), run_scheduled)
                engine.bell = polls
                async with running(executions.watch()), running(keep_schedules(jobs.values(), run_scheduled)):
                    yield
            finally:
                engine.bell = None
                await asyncio.to_thread(polls.stop)
                await executions.drain(drain_seconds)


def _register(executions: Executions, polls: _Queues) -> Any:
    """Tell DBOS its two functions; the one for schedules."""

    async def run_job(name: str, arguments: dict[str, Any], context: dict[str, str | None]) -> None:
        task = asyncio.current_task()
        if task is not None:
            # By then DBOS has counted it out.
            task.add_done_callback(lambda _: polls.ended(name))
        await executions.execute(DBOS.workflow_id or "", name, arguments, context)
        raise _Settled

    async def run_scheduled_job(_: datetime, name: str) -> None:
        await run_job(name, {}, {})

    DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)(run_job)
    return DBOS.workflow(name=_SCHEDULED_WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)(run_scheduled_job)


async def _registered(queues: Collection[JobQueue], poll_seconds: float) -> list[Queue]:
    """The queues, and those of an earlier deploy, in which jobs may wait."""
    ours = [
        await DBOS.register_queue_async(
            queue.name,
            # DBOS refuses more in one worker than in all of them.
            worker_concurrency=min(queue.concurrency, queue.total_concurrency or queue.concurrency),
            global_concurrency=queue.total_concurrency,
            polling_interval_sec=poll_seconds,
            on_conflict="always_update",
        )
        for queue in queues
    ]
    names = {queue.name for queue in ours}
    return [*ours, *(queue for queue in await DBOS.list_queues_async() if queue.name not in names)]


@asynccontextmanager
async def _launched(url: str, executor_id: str, *, connections: int) -> AsyncIterator[DBOS]:
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": url,
        "sys_db_pool_size": connections,
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": SERIALIZER,
        "run_migrations": False,
        "enable_otlp": False,
        "log_level": "WARNING",
        "scheduler_polling_interval_sec": _SCHEDULE_SECONDS,
    }
    instance = DBOS(config=config)
    try:
        _log_through_ours()
        # It would look into the queues with threads of its own.
        DBOS.listen_queues([])
        # Jobs run on this loop, where the application's connections belong. Launching waits for the database, which may
        # wait for a transaction of this loop, so that happens in a thread; and is over before it is destroyed.
        instance._background_event_loop.set_main_loop()  # noqa: SLF001 - launching on the loop would set it too.
        try:
            await in_thread(DBOS.launch)
        except error.DBOSInitializationError as missing:
            told = (
                "The tables of durable jobs are missing or of another version: `await migrate(url)` makes them, before"
            )
            raise RuntimeError(f"{told} this starts, from hardpoint.jobs.durable") from missing
        yield instance
    finally:
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        # DBOS made its own executor the loop's, and has shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


def _log_through_ours() -> None:
    logger = logging.getLogger("dbos")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
