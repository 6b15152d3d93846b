"""`hardpoint worker`."""

import asyncio
import signal

import click
from starlette.applications import Starlette

from hardpoint.cli.loading import faults_told, prepare_database, settings_or_exit
from hardpoint.cli.target import service
from hardpoint.log import configure_logging
from hardpoint.settings import Settings

__all__ = ["command"]


@click.command("worker")
def command() -> None:
    """Run durable jobs and deliver mails, without serving; as many workers as wanted, on as many machines.

    On SIGTERM what runs is finished first. A job whose worker is killed is taken over by another one. One that has
    lost the database goes on when it is back, or ends with status 1, for whatever looks after it to start another.
    """
    settings = settings_or_exit()
    configure_logging(
        settings.log_format,
        static={"instance": settings.resolved_instance},
        flush_seconds=settings.log_flush_seconds,
    )
    with faults_told():
        asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    await prepare_database(settings)
    asked_to_leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_leave.set)
    async with service().make_lifespan(settings, serves=False, works=True)(Starlette()):
        await asked_to_leave.wait()
