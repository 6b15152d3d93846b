"""The engine's table of jobs, with the application's own connections.

DBOS's client does most of what jobs need. What is here it cannot do: put a job that failed back into its queue for a
while, so that its pause occupies nobody; note in a transaction of the job's that it is done; end many jobs at once.
Every statement asks for the status that it changes and for the worker that has the job, so that of two who think that a
job is theirs one is told no.
"""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    String,
    TableClause,
    Update,
    any_,
    bindparam,
    case,
    cast,
    column,
    extract,
    func,
    literal,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from hardpoint.db.session import TranslatedErrors
from hardpoint.jobs.info import JobStatus
from hardpoint.jobs.sqlite import sqlite_now

__all__ = ["STATUSES", "CancelledJob", "JobTable", "Noted", "workflow_status"]

STATUSES: Final[Mapping[str, JobStatus]] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
_ENDED: Final = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED")
_TELL_WITHIN_MILLISECONDS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Noted:
    """What was noted of a job before this run of it.

    Attributes:
        attempts: How many attempts have failed.
        done: Whether its work is committed, and only the end of it was not noted.
        round: Which time it was begun again; another one each time.
    """

    attempts: int
    done: bool
    round: str


@dataclass(frozen=True, slots=True)
class CancelledJob:
    """A job that was cancelled."""

    id: str
    name: str
    principal: str | None
    attempts: int
    round: str


def workflow_status(dialect: str) -> TableClause:
    """The table, as far as it is used here."""
    names = ("workflow_uuid", "status", "name", "schedule_name", "queue_name", "executor_id", "owner_xid")
    numbers = ("created_at", "updated_at", "completed_at", "started_at_epoch_ms", "delay_until_epoch_ms")
    return table(
        "workflow_status",
        column("attributes", JSON().with_variant(JSONB(), "postgresql")),
        column("recovery_attempts", BigInteger),
        *(column(name, String) for name in names),
        *(column(name, BigInteger) for name in numbers),
        schema=None if dialect == "sqlite" else "dbos",
    )


class JobTable:
    """Statements on the table; each raises `ServiceUnavailable` when the database cannot be reached.

    Args:
        engine: The application's engine.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._is_sqlite = engine.dialect.name == "sqlite"
        # Each statement is a transaction of its own, which needs no word more than itself.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._rows = workflow_status(engine.dialect.name)
        # What every job needs is put together once, not for each of them.
        self._select_noted = select(self._rows.c.workflow_uuid, self._rows.c.attributes).where(self._is_one_of())
        self._update_succeeded = (
            update(self._rows)
            .where(self._is_one_of(), self._rows.c.status == "PENDING")
            .where(self._rows.c.executor_id == bindparam("executor"))
            .values(status="SUCCESS", **self._ended())
        )

    async def noted(self, job_ids: list[str]) -> list[Noted]:
        """What was noted of each of the jobs."""
        async with self._connection() as connection:
            rows = await connection.execute(self._select_noted, {"job_ids": job_ids})
            found = {job_id: attributes or {} for job_id, attributes in rows}
        return [
            Noted(attributes.get("attempts", 0), bool(attributes.get("done")), attributes.get("round", ""))
            for attributes in (found.get(job_id, {}) for job_id in job_ids)
        ]

    async def note_progress(self, job_id: str, executor_id: str, progress: float) -> None:
        """Note how much of a running job is done."""
        await self._execute(
            update(self._rows)
            .where(self._is_run_by(executor_id, job_id))
            .values(attributes=self._with({"progress": progress}))
        )

    async def note_done(self, session: AsyncSession, job_id: str, executor_id: str) -> bool:
        """Note in the session's transaction that a job's work is done; false if the worker has the job no more."""
        statement = (
            update(self._rows)
            .where(self._is_run_by(executor_id, job_id))
            .values(attributes=self._with({"done": True}))
            .returning(self._rows.c.workflow_uuid)
        )
        return (await session.execute(statement)).first() is not None

    async def succeed(self, job_ids: list[str], executor_id: str) -> None:
        """The jobs have succeeded."""
        await self._execute(self._update_succeeded, {"job_ids": job_ids, "executor": executor_id})

    async def fail(self, job_id: str, executor_id: str, *, attempts: int, error: str) -> None:
        """The job has failed for good."""
        noted = self._with({"attempts": attempts, "error": error})
        await self._execute(
            update(self._rows)
            .where(self._is_run_by(executor_id, job_id))
            .values(status="ERROR", attributes=noted, **self._ended())
        )

    async def postpone(self, job_id: str, executor_id: str, *, attempts: int, error: str, due_at: datetime) -> None:
        """The attempt has failed, and the next begins at `due_at`."""
        due = int(due_at.timestamp() * 1_000)
        await self._execute(
            update(self._rows)
            .where(self._is_run_by(executor_id, job_id))
            .values(
                # What is delayed is looked at once a second; without a pause it need not be.
                status=case((self._now() >= due, "ENQUEUED"), else_="DELAYED"),
                delay_until_epoch_ms=due,
                attributes=self._with({"attempts": attempts, "error": error}),
                # What it counts is deaths in one attempt, and this one came to its end.
                recovery_attempts=0,
                owner_xid=None,
                started_at_epoch_ms=None,
                updated_at=self._now(),
            )
        )

    async def begin_again(self, job_id: str, queue: str) -> bool:
        """Put a job that has failed or was cancelled into a queue as if it were new; whether it had."""
        return await self._execute(
            update(self._rows)
            .where(self._rows.c.workflow_uuid == job_id, self._rows.c.status.in_(_ENDED))
            .values(
                status="ENQUEUED",
                queue_name=queue,
                attributes=self._with({"attempts": 0, "progress": None, "told": None, "round": secrets.token_hex(4)}),
                recovery_attempts=0,
                delay_until_epoch_ms=None,
                owner_xid=None,
                started_at_epoch_ms=None,
                completed_at=None,
                updated_at=self._now(),
            )
        )

    async def busy_executors(self) -> set[str]:
        """The ids of the workers that have begun a job and not ended it, the dead ones among them."""
        query = select(self._rows.c.executor_id).where(self._rows.c.status == "PENDING").distinct()
        async with self._connection() as connection:
            return {executor_id for executor_id in await connection.scalars(query) if executor_id}

    async def give_back(self, executor_id: str) -> None:
        """Put the jobs that a worker has begun and will not end back into their queues."""
        await self._execute(
            update(self._rows)
            .where(self._rows.c.status == "PENDING", self._rows.c.executor_id == executor_id)
            .values(status="ENQUEUED", owner_xid=None, started_at_epoch_ms=None, updated_at=self._now())
        )

    async def cancelled_of(self, job_ids: list[str]) -> set[str]:
        """Which of the jobs were cancelled."""
        query = select(self._rows.c.workflow_uuid).where(self._is_one_of(), self._rows.c.status == "CANCELLED")
        async with self._connection() as connection:
            return set(await connection.scalars(query, {"job_ids": job_ids}))

    async def cancelled_untold(self) -> list[CancelledJob]:
        """Some jobs that were cancelled in the last hour, of which nobody has been told yet."""
        rows = self._rows.c
        query = (
            select(rows.workflow_uuid, rows.name, rows.schedule_name, rows.attributes)
            .where(rows.status == "CANCELLED", rows.completed_at > self._now() - _TELL_WITHIN_MILLISECONDS)
            .where(func.coalesce(rows.attributes["told"].as_string(), "") != "true")
            .limit(100)
        )
        async with self._connection() as connection:
            return [
                CancelledJob(
                    job_id,
                    (attributes or {}).get("job") or schedule or name,
                    (attributes or {}).get("principal"),
                    (attributes or {}).get("attempts", 0),
                    (attributes or {}).get("round", ""),
                )
                for job_id, name, schedule, attributes in await connection.execute(query)
            ]

    async def note_told(self, job_ids: list[str]) -> None:
        """Of these cancelled jobs it was told."""
        told = self._with({"told": "true"})
        statement = update(self._rows).where(self._is_one_of(), self._rows.c.status == "CANCELLED")
        await self._execute(statement.values(attributes=told), {"job_ids": job_ids})

    def _is_one_of(self) -> ColumnElement[bool]:
        """Whether the row is one of the parameter `job_ids`."""
        job_id = self._rows.c.workflow_uuid
        if self._is_sqlite:
            return job_id.in_(bindparam("job_ids", expanding=True))
        # One statement for any number of them, which the driver prepares once.
        return job_id == any_(bindparam("job_ids", type_=ARRAY(String)))

    def _is_run_by(self, executor_id: str, job_id: str) -> ColumnElement[bool]:
        rows = self._rows.c
        return (rows.workflow_uuid == job_id) & (rows.status == "PENDING") & (rows.executor_id == executor_id)

    def _ended(self) -> dict[str, Any]:
        now = self._now()
        return {"owner_xid": None, "updated_at": now, "completed_at": now}

    def _now(self) -> ColumnElement[int]:
        """Milliseconds since the epoch by the database's clock, which all workers have in common."""
        if self._is_sqlite:
            return sqlite_now()
        return cast(extract("epoch", func.clock_timestamp()) * 1_000, BigInteger)

    def _with(self, changes: Mapping[str, Any]) -> ColumnElement[Any]:
        """The job's attributes with these changes; a job of a schedule may have none."""
        attributes = self._rows.c.attributes
        if self._is_sqlite:
            patch = literal(json.dumps(changes), String)
            return func.json_patch(func.coalesce(cast(attributes, String), "{}"), patch, type_=String)
        kept = case((func.jsonb_typeof(attributes) == "object", attributes), else_=literal({}, JSONB))
        return kept.op("||")(literal(dict(changes), JSONB))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        with TranslatedErrors():
            async with self._engine.connect() as connection:
                yield connection

    async def _execute(self, statement: Update, parameters: Mapping[str, Any] | None = None) -> bool:
        async with self._connection() as connection:
            return bool((await connection.execute(statement, parameters)).rowcount)
