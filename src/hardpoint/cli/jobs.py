"""`hardpoint jobs list|show|retry|cancel`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import faults_told, prepare_database, settings_or_exit
from hardpoint.cli.target import service
from hardpoint.errors import Conflict, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from hardpoint.jobs.durable import DurableJobs, JobInfo

__all__ = ["command"]

T = TypeVar("T")

_STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"]


@click.group("jobs")
def command() -> None:
    """Durable jobs of the service."""


@command.command("list")
@click.option("--status", type=click.Choice(_STATUSES), default=None, help="Only jobs with this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The most jobs.")
def list_jobs(status: "str | None", limit: int) -> None:
    """Print the newest jobs, newest first."""
    for info in _with_jobs(lambda jobs: jobs.list(status=status, limit=limit)):  # type: ignore[arg-type] # click checked it.
        click.echo(f"{info.id}  {info.status:9}  {info.attempts:>3}  {_moment(info.queued_at)}  {info.name}")


@command.command("show")
@click.argument("job_id")
def show(job_id: str) -> None:
    """Print what is known of a job."""
    info: JobInfo = _with_jobs(lambda jobs: jobs.info(job_id))
    for name, value in {
        "id": info.id,
        "name": info.name,
        "status": info.status,
        "attempts": info.attempts,
        "error": info.error or "",
        "progress": "" if info.progress is None else f"{info.progress:.0%}",
        "queued by": info.principal or "",
        "queued at": _moment(info.queued_at),
        "due at": _moment(info.due_at),
        "finished at": _moment(info.finished_at),
    }.items():
        click.echo(f"{name:12} {value}".rstrip())


@command.command("retry")
@click.argument("job_id")
def retry(job_id: str) -> None:
    """Begin a failed or cancelled job again."""
    _with_jobs(lambda jobs: jobs.retry(job_id))


@command.command("cancel")
@click.argument("job_id")
def cancel(job_id: str) -> None:
    """Do not begin a job, or stop it where it is."""
    _with_jobs(lambda jobs: jobs.cancel(job_id))


def _moment(moment: "datetime | None") -> str:
    return "" if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _with_jobs(action: "Callable[[DurableJobs], Awaitable[T]]") -> T:
    async def run() -> T:
        settings = settings_or_exit()
        await prepare_database(settings)
        async with service().open_jobs(settings) as jobs:
            return await action(jobs)

    try:
        with faults_told():
            return asyncio.run(run())
    except NotFound:
        fail("There is no such job", status=1)
    except Conflict as error:
        fail(error.detail, status=1)
