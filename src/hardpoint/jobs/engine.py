"""The engine, which is DBOS, as whoever enqueues and looks after jobs sees it; `executor` is the side that runs them.

What knows DBOS is here, in `executor` and in `table`. One workflow of its runs every job. Jobs are JSON in the
database, and what waits is run by whatever code is deployed by then: the engine's own version of the code is pinned.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowStatus, error
from sqlalchemy import URL, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from hardpoint.jobs.info import JobInfo, JobStatus
from hardpoint.jobs.sqlite import is_old, mend_defaults, teach_the_time
from hardpoint.jobs.table import STATUSES, JobTable

__all__ = ["APPLICATION", "MAX_RECOVERIES", "SERIALIZER", "VERSION", "WORKFLOW", "Engine", "is_migrated", "migrate"]

APPLICATION: Final = "hardpoint"
WORKFLOW: Final = "hardpoint.job"
VERSION: Final = "1"
SERIALIZER: Final = DBOSPortableJSONSerializer()
# After so many deaths of a process in the middle of one attempt, the job is taken for the cause.
MAX_RECOVERIES: Final = 20

teach_the_time()


class Bell(Protocol):
    """Wakes who looks for jobs."""

    def ring(self, queue: str) -> None:
        """There may be work in `queue`."""


class Engine:
    """Enqueues and tells of jobs, in the database that also has the application's data.

    Args:
        engine: The application's async engine, on SQLite or PostgreSQL.
        url: Its URL, password included.

    Attributes:
        url: The URL for the engine, which has drivers of its own.
        table: The engine's table of jobs.
        bell: Rung when a job was enqueued by this process; there if it runs jobs as well.
    """

    def __init__(self, engine: AsyncEngine, url: str | URL) -> None:
        self.url = _sync_url(url)
        self.table = JobTable(engine)
        self.bell: Bell | None = None
        self._client = DBOSClient(
            system_database_url=self.url,
            serializer=SERIALIZER,
            application_name=APPLICATION,
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
            "workflow_name": WORKFLOW,
            "queue_name": queue,
            "workflow_id": job_id,
            "app_version": VERSION,
            "attributes": {"job": name, "principal": context.get("principal")},
        }
        if delay_seconds > 0:
            options["delay_seconds"] = delay_seconds
        if priority:
            options["priority"] = priority
        if self.bell is not None:
            bell, waiting = self.bell, [queue]

            def ring(committed: Session) -> None:
                # A savepoint's release is told as a commit, and nobody sees the job yet.
                if waiting and not committed.in_nested_transaction():
                    bell.ring(waiting.pop())

            event.listen(session.sync_session, "after_commit", ring)
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
        """Do not begin the job, or end it where it is."""
        await self._client.cancel_workflow_async(job_id)

    async def retry(self, job_id: str, queue: str) -> bool:
        """Begin a job that has failed or was cancelled from its first attempt; whether it had."""
        begun = await self.table.begin_again(job_id, queue)
        if begun and self.bell is not None:
            self.bell.ring(queue)
        return begun

    async def forget_before(self, moment: datetime) -> int:
        """Remove jobs that ended before `moment`; how many."""
        found = await self._client.list_workflows_async(
            completed_before=moment.isoformat(), limit=1_000, load_input=False, load_output=False
        )
        ids = [one.workflow_id for one in found]
        if ids:
            await self._client.delete_workflows_async(ids)
        return len(ids)


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

    def run(url: str) -> None:
        DBOS.migrate(url)
        if is_old() and make_url(url).get_backend_name() == "sqlite":
            mend_defaults(url)

    await asyncio.to_thread(run, _sync_url(url))


def _sync_url(url: str | URL) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ValueError("Durable jobs need a database that outlives a connection: a SQLite file, or PostgreSQL")
    driver = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql+psycopg"
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1_000, UTC)


def _info(found: WorkflowStatus) -> JobInfo:
    attributes = found.attributes or {}
    status = STATUSES[found.status]
    reason = attributes.get("error")
    if found.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        reason = f"Its process died {MAX_RECOVERIES} times"
    return JobInfo(
        id=found.workflow_id,
        name=attributes.get("job") or found.schedule_name or found.name,
        status=status,
        # What was noted are attempts that have failed.
        attempts=attributes.get("attempts", 0) + (status in {"running", "succeeded"}),
        error=None if status == "succeeded" else reason,
        progress=attributes.get("progress"),
        principal=attributes.get("principal"),
        queued_at=_moment(found.created_at) or datetime.fromtimestamp(0, UTC),
        due_at=None if found.completed_at is not None else _moment(found.delay_until_epoch_ms),
        finished_at=_moment(found.completed_at),
    )
