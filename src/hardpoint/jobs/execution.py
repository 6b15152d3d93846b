"""The jobs that this process has claimed: run, ended or put back, and stopped when they are cancelled."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint.aio import is_wanted, task_group
from hardpoint.clock import utc_datetime
from hardpoint.errors import ServiceUnavailable
from hardpoint.jobs.attempts import Attempt, NotOurs, Outcome, Runner
from hardpoint.jobs.batching import Batched
from hardpoint.jobs.table import JobTable, Noted
from hardpoint.log import get_logger

__all__ = ["Executions"]

T = TypeVar("T")

logger = get_logger("hardpoint.jobs")

_WATCH_SECONDS: Final = 1.0
# A job may have something to clear up when it is stopped; one that goes on regardless is left alone.
_STOP_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0


class Executions:
    """What runs in this worker.

    Args:
        runner: Makes attempts.
        table: The engine's table of jobs.
        executor_id: This worker's id.
    """

    def __init__(self, runner: Runner, table: JobTable, executor_id: str) -> None:
        self._runner = runner
        self._table = table
        self._executor_id = executor_id
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_abandoned = False
        self._noted: Batched[str, Noted] = Batched(self._table.noted)
        self._succeed: Batched[str, None] = Batched(self._succeed_all)

    async def execute(
        self, job_id: str, name: str, arguments: Mapping[str, Any], context: Mapping[str, str | None]
    ) -> None:
        """Run a job that this worker has claimed, and note what came of it.

        When it returns, the job is ended, or waits for its next attempt, or is not this worker's any more.
        """
        # One of it that was cancelled and begun again is over by then.
        await self._stop([job_id])
        task = asyncio.create_task(self._execute(job_id, name, arguments, context))
        self._running[job_id] = task
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            if self._running.get(job_id) is task:
                del self._running[job_id]
        if not task.cancelled():
            task.result()

    async def watch(self) -> None:
        """Stop what was cancelled, and tell of it."""
        async with task_group() as group:
            group.create_task(self._repeat(self._stop_cancelled))
            if self._runner.tells:
                # By itself: who is told may take their time.
                group.create_task(self._repeat(self._tell_of_cancelled))

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, and then stop it and put it back into its queue."""
        if self._running and not self._is_abandoned:
            await asyncio.wait(set(self._running.values()), timeout=seconds)
        left = [job_id for job_id, task in self._running.items() if not task.done()]
        await self._stop(left)
        if left:
            logger.warning("jobs_left_to_others", count=len(left))
            if not self._is_abandoned:
                await self._persist(lambda: self._table.give_back(self._executor_id))

    def abandon(self) -> None:
        """Stop what runs, at once: others may have it already."""
        self._is_abandoned = True
        for task in self._running.values():
            task.cancel()

    async def _execute(
        self, job_id: str, name: str, arguments: Mapping[str, Any], context: Mapping[str, str | None]
    ) -> None:
        noted = await self._persist(lambda: self._noted(job_id))
        attempt = Attempt(job_id, name, arguments, context, noted.attempts + 1, noted.round)
        outcome = Outcome()
        if not noted.done:
            await self._runner.tell(attempt.change("running"))
            try:
                outcome = await self._runner.run(
                    attempt,
                    note_progress=lambda done: self._table.note_progress(job_id, self._executor_id, done),
                    note_done=lambda session: self._note_done(session, job_id),
                )
            except NotOurs:
                return
            if not is_wanted():
                # It was stopped and went on regardless; by now it is somebody else's, or was cancelled.
                return
        if outcome.error is None:
            await self._runner.tell(attempt.change("succeeded"))
            await self._persist(lambda: self._succeed(job_id))
        elif outcome.pause_seconds is None:
            await self._runner.tell(attempt.change("failed", outcome.error))
            await self._fail(attempt, outcome.error)
        else:
            await self._runner.tell(attempt.change("queued", outcome.error))
            await self._postpone(attempt, outcome.error, outcome.pause_seconds)

    async def _fail(self, attempt: Attempt, error: str) -> None:
        await self._persist(
            lambda: self._table.fail(attempt.job_id, self._executor_id, attempts=attempt.number, error=error)
        )

    async def _postpone(self, attempt: Attempt, error: str, pause_seconds: float) -> None:
        due_at = utc_datetime(self._runner.jobs.clock()) + timedelta(seconds=pause_seconds)
        await self._persist(
            lambda: self._table.postpone(
                attempt.job_id, self._executor_id, attempts=attempt.number, error=error, due_at=due_at
            )
        )

    async def _note_done(self, session: AsyncSession, job_id: str) -> bool:
        return await self._table.note_done(session, job_id, self._executor_id)

    async def _succeed_all(self, job_ids: list[str]) -> list[None]:
        await self._table.succeed(job_ids, self._executor_id)
        return [None] * len(job_ids)

    async def _stop(self, job_ids: list[str]) -> None:
        tasks = [task for job_id in job_ids if (task := self._running.pop(job_id, None)) is not None]
        for task in tasks:
            task.cancel()
        if tasks and (await asyncio.wait(tasks, timeout=_STOP_SECONDS))[1]:
            logger.error("job_does_not_stop", worker=self._executor_id)

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        while is_wanted():
            try:
                await look()
            except ServiceUnavailable:
                logger.warning("jobs_not_watched", worker=self._executor_id)
            await asyncio.sleep(_WATCH_SECONDS)

    async def _stop_cancelled(self) -> None:
        if self._running:
            for job_id in await self._table.cancelled_of(list(self._running)):
                logger.info("job_stopped", job_id=job_id, reason="cancelled")
                await self._stop([job_id])

    async def _tell_of_cancelled(self) -> None:
        cancelled = await self._table.cancelled_untold()
        for job in cancelled:
            attempt = Attempt(job.id, job.name, {}, {"principal": job.principal}, job.attempts, job.round)
            await self._runner.tell(attempt.change("cancelled"))
        if cancelled:
            await self._table.note_told([job.id for job in cancelled])

    async def _persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do it, however long the database is away: nobody else would end what this worker has begun."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await write()
            except ServiceUnavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
