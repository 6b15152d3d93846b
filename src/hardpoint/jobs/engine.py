"""The one seam to the engine, which is DBOS: what knows it is in this module, and in `figures`, which reads its table.

One workflow runs every job. Each attempt is a step of it, so what an attempt came to is noted; the pause between two is
a sleep of the engine's, which goes on where it was when a process dies. Jobs are JSON in the database, and what waits
is run by whatever code is deployed by then: the engine's own version of the code is pinned.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, Literal, Protocol

from dbos import (
    DBOS,
    AsyncSQLAlchemyDatasource,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    WorkflowStatus,
    error,
)
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from hardpoint.db.session import TranslatedErrors
from hardpoint.errors import ServiceUnavailable
from hardpoint.jobs.definitions import JobQueue
from hardpoint.log import get_logger

__all__ = ["STATUSES", "Attempt", "Engine", "JobInfo", "JobStatus", "Outcome", "is_migrated", "migrate"]

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]

logger = get_logger("hardpoint.jobs")

_NAME: Final = "hardpoint"
_WORKFLOW: Final = "hardpoint.job"
_SCHEDULED_WORKFLOW: Final = "hardpoint.scheduled_job"
_VERSION: Final = "1"
# After so many deaths of a process in the middle of one job, the job is taken for the cause.
_MAX_RECOVERIES: Final = 20
_NOTE_AGAIN_SECONDS: Final = 0.5
_SERIALIZER: Final = DBOSPortableJSONSerializer()
_one_worker: Final = Lock()
STATUSES: Final[Mapping[str, JobStatus]] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job in the database.

    Attributes:
        id: Its id.
        name: Which job.
        status: Where it is.
        attempts: How often it was tried.
        error: Why the last attempt failed; `None` while none has.
        progress: What the job told of itself, 0 to 1.
        principal: Who enqueued it, as in `hardpoint.context.principal`.
        queued_at: When it was enqueued.
        finished_at: When it ended.
    """

    id: str
    name: str
    status: JobStatus
    attempts: int
    error: str | None
    progress: float | None
    principal: str | None
    queued_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that is to be made."""

    job_id: str
    name: str
    arguments: Mapping[str, Any]
    context: Mapping[str, str | None]
    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to: an error's text, and after which pause to try again, or `None` to give up."""

    error: str | None
    pause_seconds: float | None = None


class Runner(Protocol):
    """Makes attempts."""

    async def run(self, attempt: Attempt, session: AsyncSession | None) -> Outcome:
        """Make the attempt, with the session of its transaction for a job that runs exactly once."""

    def failed(self, attempt: Attempt, error: Exception) -> Outcome:
        """What an attempt comes to that ended with `error`."""

    def exactly_once(self, name: str) -> bool:
        """Whether the job with this name runs exactly once."""

    async def tell(self, attempt: Attempt, status: JobStatus, error: str | None) -> None:
        """An attempt begins, has failed and will be repeated, or was the last; told again by who takes a job over."""


class _Worker:
    """Runs jobs: the functions that DBOS calls."""

    def __init__(self, runner: Runner, data: AsyncSQLAlchemyDatasource, client: DBOSClient) -> None:
        self._runner = runner
        self._data = data
        self._client = client
        self.attempting: set[str] = set()

    async def run(self, name: str, arguments: dict[str, Any], context: dict[str, str | None]) -> None:
        job_id = DBOS.workflow_id or ""
        number = 0
        while True:
            number += 1
            attempt = Attempt(job_id, name, arguments, context, number)
            await self._runner.tell(attempt, "running", None)
            outcome = await self._make(attempt)
            if outcome["error"] is None:
                await self._runner.tell(attempt, "succeeded", None)
                return
            if outcome["pause_seconds"] is None:
                await self._runner.tell(attempt, "failed", outcome["error"])
                raise _JobFailed(outcome["error"])
            await self._runner.tell(attempt, "running", outcome["error"])
            await DBOS.sleep_async(outcome["pause_seconds"])

    async def run_scheduled(self, _: datetime, name: str) -> None:
        await self.run(name, {}, {})

    async def wait_for_attempts(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self.attempting:  # noqa: ASYNC110 - it is looked at a few times, at the end of the process.
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logger.warning("jobs_left_to_others", count=len(self.attempting))

    async def _make(self, attempt: Attempt) -> dict[str, Any]:
        self.attempting.add(attempt.job_id)
        try:
            if self._runner.exactly_once(attempt.name):
                return await self._make_in_transaction(attempt)
            return await DBOS.run_step_async({"name": f"attempt {attempt.number}"}, self._make_plainly, attempt)
        finally:
            self.attempting.discard(attempt.job_id)

    async def _make_plainly(self, attempt: Attempt) -> dict[str, Any]:
        return await self._noted(attempt, await self._runner.run(attempt, None))

    async def _make_in_transaction(self, attempt: Attempt) -> dict[str, Any]:
        async def work() -> None:
            outcome = await self._runner.run(attempt, self._data.sql_session())
            if outcome.error is not None:
                raise _AttemptFailed(json.dumps([outcome.error, outcome.pause_seconds]))

        # On PostgreSQL as in every other session of the application: in the engine's own choice, SERIALIZABLE, two jobs
        # that touch the same rows make each other's attempts fail.
        is_sqlite = self._data.engine.dialect.name == "sqlite"
        isolation: Literal["SERIALIZABLE", "READ COMMITTED"] = "SERIALIZABLE" if is_sqlite else "READ COMMITTED"
        try:
            await self._data.run_tx_step_async(
                {"name": f"attempt {attempt.number}", "isolation_level": isolation}, work
            )
        except Exception as error:  # noqa: BLE001 - after a restart it is the engine's copy of ours, of another class.
            return await self._noted(attempt, _stored_outcome(error) or self._runner.failed(attempt, error))
        return await self._noted(attempt, Outcome(None))

    async def _noted(self, attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
        noted: dict[str, Any] = {} if outcome.error is None else {"error": outcome.error}
        if noted or attempt.number > 1:
            noted["attempts"] = attempt.number
            await self._note(attempt.job_id, noted)
        return {"error": outcome.error, "pause_seconds": outcome.pause_seconds}

    async def _note(self, job_id: str, noted: Mapping[str, Any]) -> None:
        # What an attempt failed of is often that the database is away. Raised here, it would be the end of the job.
        while True:
            try:
                with TranslatedErrors():
                    await self._client.update_workflow_attributes_async(job_id, dict(noted), merge=True)
            except ServiceUnavailable:
                await asyncio.sleep(_NOTE_AGAIN_SECONDS)
            else:
                return


class _JobFailed(Exception):
    """The end of a job that was given up, for the engine; the log has it already."""


class _AttemptFailed(Exception):
    """Rolls the attempt's transaction back; its text is the outcome, because the engine stores an error's text."""


def _stored_outcome(error: Exception) -> Outcome | None:
    try:
        told, pause = json.loads(str(error))
    except (ValueError, TypeError):
        return None
    return Outcome(told, pause)


class Engine:
    """Enqueues, runs and tells of jobs, in the database that also has the application's data.

    Args:
        engine: The application's async engine, on SQLite or PostgreSQL.
        url: Its URL, password included.
    """

    def __init__(self, engine: AsyncEngine, url: str | URL) -> None:
        self._engine = engine
        self._url = _sync_url(url)
        self._client = DBOSClient(
            system_database_url=self._url,
            serializer=_SERIALIZER,
            application_name=_NAME,
            lazy=True,
            retry_connection_errors=False,
        )

    async def close(self) -> None:
        """Close the client's connections."""
        await asyncio.to_thread(self._client.destroy)

    async def enqueue(
        self,
        session: AsyncSession,
        *,
        job_id: str,
        name: str,
        queue: str,
        arguments: Mapping[str, Any],
        context: Mapping[str, str | None],
        delay_seconds: float,
        priority: int,
    ) -> None:
        """Add a job in the session's transaction. An id that is there already is left as it is."""
        options: EnqueueOptions = {
            "workflow_name": _WORKFLOW,
            "queue_name": queue,
            "workflow_id": job_id,
            "app_version": _VERSION,
            "attributes": {"job": name, "principal": context.get("principal")},
        }
        if delay_seconds > 0:
            options["delay_seconds"] = delay_seconds
        if priority:
            options["priority"] = priority
        await session.run_sync(
            lambda sync: self._client.enqueue_in_transaction(sync, options, name, dict(arguments), dict(context))
        )

    async def info(self, job_id: str) -> JobInfo | None:
        """The job with this id."""
        found = await self._client.list_workflows_async(
            workflow_ids=[job_id], load_input=False, load_output=False, limit=1
        )
        return _info(found[0]) if found else None

    async def infos(self, *, status: JobStatus | None = None, limit: int = 100) -> list[JobInfo]:
        """The newest jobs, newest first."""
        wanted = None if status is None else [theirs for theirs, ours in STATUSES.items() if ours == status]
        found = await self._client.list_workflows_async(
            status=wanted, limit=limit, sort_desc=True, load_input=False, load_output=False
        )
        return [_info(one) for one in found]

    async def cancel(self, job_id: str) -> None:
        """Do not begin the job, or end it before its next attempt."""
        await self._client.cancel_workflow_async(job_id)

    async def retry(self, job_id: str, queue: str) -> None:
        """Begin a job that has ended from its first attempt."""
        await self._client.rewind_workflow_async(job_id, application_version=_VERSION, queue_name=queue)

    async def set_progress(self, job_id: str, done: float) -> None:
        """Note the job's progress."""
        await self._client.update_workflow_attributes_async(job_id, {"progress": done}, merge=True)

    async def forget_before(self, moment: datetime) -> int:
        """Remove jobs that ended before `moment`; how many."""
        found = await self._client.list_workflows_async(
            completed_before=moment.isoformat(), limit=1_000, load_input=False, load_output=False
        )
        ids = [one.workflow_id for one in found]
        if ids:
            await self._client.delete_workflows_async(ids)
        return len(ids)

    async def busy_executors(self) -> set[str]:
        """The ids of the workers that have begun a job and not ended it, the dead ones among them."""
        found = await self._client.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        return {one.executor_id for one in found if one.executor_id}

    async def take_over(self, executor_id: str) -> None:
        """Give the jobs of a dead worker back to their queues; only in a process that works itself."""
        await asyncio.to_thread(DBOS._recover_pending_workflows, [executor_id])  # noqa: SLF001 - resuming, which is public, would forget how often a job was recovered.

    @asynccontextmanager
    async def working(
        self,
        runner: Runner,
        *,
        executor_id: str,
        queues: Collection[JobQueue],
        schedules: Mapping[str, tuple[str, str]],
        poll_seconds: float,
        drain_seconds: float,
    ) -> AsyncIterator[None]:
        """Run jobs in this process and loop meanwhile.

        Args:
            runner: Makes attempts.
            executor_id: This worker's id, which no other living one may have.
            queues: Which jobs to run.
            schedules: By job, when it is enqueued by itself, in cron's words and UTC, and into which queue.
            poll_seconds: How often to look for waiting jobs.
            drain_seconds: How long to wait for running ones at the end.
        """
        if not _one_worker.acquire(blocking=False):
            raise RuntimeError("There is a worker in this process already, and DBOS can be but once in each")
        config: DBOSConfig = {
            "name": _NAME,
            "system_database_url": self._url,
            "application_version": _VERSION,
            "executor_id": executor_id,
            "serializer": _SERIALIZER,
            "run_migrations": False,
            "enable_otlp": False,
            "log_level": "WARNING",
            "scheduler_polling_interval_sec": 2.0,
        }
        try:
            data = await AsyncSQLAlchemyDatasource.create(
                "sqlite://" if self._url.startswith("sqlite") else self._url,
                engine=self._engine,
                serializer=_SERIALIZER,
                run_migrations=False,
            )
            worker = _Worker(runner, data, self._client)
            declare = DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=_MAX_RECOVERIES)
            declare(_function(worker.run))
            declare = DBOS.workflow(name=_SCHEDULED_WORKFLOW, max_recovery_attempts=_MAX_RECOVERIES)
            run_scheduled = declare(_function(worker.run_scheduled))
            async with _launched(config, worker, drain_seconds):
                for queue in queues:
                    await DBOS.register_queue_async(
                        queue.name,
                        worker_concurrency=queue.concurrency,
                        global_concurrency=queue.total_concurrency,
                        polling_interval_sec=poll_seconds,
                        on_conflict="always_update",
                    )
                await DBOS.apply_schedules_async(
                    [
                        {
                            "schedule_name": name,
                            "workflow_fn": run_scheduled,
                            "schedule": cron,
                            "context": name,
                            "queue_name": queue,
                        }
                        for name, (cron, queue) in schedules.items()
                    ]
                )
                yield
        finally:
            _one_worker.release()


def _function(method: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    # DBOS takes functions alone for workflows, not bound methods.
    async def call(*arguments: Any) -> None:
        await method(*arguments)

    call.__qualname__ = method.__qualname__
    return call


@asynccontextmanager
async def _launched(config: DBOSConfig, worker: _Worker, drain_seconds: float) -> AsyncIterator[None]:
    engine = DBOS(config=config)
    try:
        _log_through_ours()
        # Jobs run on this loop, where the application's connections belong. Launching waits for the database, which may
        # wait for a transaction of this loop, so that happens in a thread.
        engine._background_event_loop.set_main_loop()  # noqa: SLF001 - launching on the loop would set it too.
        await asyncio.to_thread(DBOS.launch)
        yield
    finally:
        # Nothing new from here on, and then what is being attempted, but not what only waits for its next attempt.
        for event in engine.background_thread_stop_events:
            event.set()
        await worker.wait_for_attempts(drain_seconds)
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        # DBOS made its own executor the loop's, and has shut it down.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


async def is_migrated(url: str | URL) -> bool:
    """Whether the engine's own tables have the version that this code needs."""

    def verify() -> bool:
        client = DBOSClient(system_database_url=_sync_url(url), lazy=True, retry_connection_errors=False)
        try:
            client._sys_db.verify_migrations()  # noqa: SLF001 - the client never asks by itself.
        except error.DBOSInitializationError:
            return False
        finally:
            client.destroy()
        return True

    return await asyncio.to_thread(verify)


async def migrate(url: str | URL) -> None:
    """Bring the engine's own tables to the version that this code needs, in the database of `url`."""
    sync_url = _sync_url(url)
    await asyncio.to_thread(DBOS.migrate, sync_url)
    # The tables of the transactions that run exactly once.
    await AsyncSQLAlchemyDatasource.migrate(sync_url)


def _sync_url(url: str | URL) -> str:
    parsed = make_url(url)
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _log_through_ours() -> None:
    logger = logging.getLogger("dbos")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
    logger.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], _JobFailed))


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1_000, UTC)


def _info(status: WorkflowStatus) -> JobInfo:
    attributes = status.attributes or {}
    ours = STATUSES[status.status]
    tried = attributes.get("attempts", 0 if ours == "queued" or status.dequeued_at is None else 1)
    error = attributes.get("error")
    if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        error = f"Its process died {_MAX_RECOVERIES} times"
    return JobInfo(
        id=status.workflow_id,
        name=attributes.get("job") or status.schedule_name or status.name,
        status=ours,
        attempts=tried,
        error=None if ours == "succeeded" else error,
        progress=attributes.get("progress"),
        principal=attributes.get("principal"),
        queued_at=_moment(status.created_at) or datetime.fromtimestamp(0, UTC),
        finished_at=_moment(status.completed_at),
    )
