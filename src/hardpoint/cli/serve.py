"""`hardpoint serve [APP]`."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import uvicorn

from hardpoint.cli.loading import faults_told, prepare_database, settings_or_exit
from hardpoint.cli.target import service, target
from hardpoint.log import configure_logging, get_logger
from hardpoint.settings import Settings, load_settings

__all__ = ["command"]

logger = get_logger("hardpoint.cli")

# Requests in flight are waited for by our own drain; this bounds what uvicorn waits for after it, such as streams.
_SHUTDOWN_SECONDS: Final = 10
# prometheus-client reads it when it is imported, which is why a worker finds it in its environment.
_SHARED_VALUES: Final = "PROMETHEUS_MULTIPROC_DIR"


@click.command("serve")
@click.argument("app", required=False, metavar="[MODULE:APP]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="How many processes serve.")
@click.option("--reload", is_flag=True, help="Restart when a source file changes.")
def command(host: str, port: int, workers: int, reload: bool, app: str | None = None) -> None:  # noqa: FBT001 - click passes options by name.
    """Serve the reference service, or any module:app."""
    if reload and workers > 1:
        raise click.UsageError("--reload serves with one process; leave out --workers")
    # Of an application that is not the service, only what the server itself needs is read.
    settings = settings_or_exit(None if app is None else load_settings)
    has_public_url = settings.public_url is not None
    if not has_public_url:
        # Workers are processes of their own and read the environment again.
        shown_host = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound.
        os.environ[settings.variable("public_url")] = (
            f"http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{port}"
        )
    if app is None:
        settings = settings_or_exit()
        with faults_told():
            asyncio.run(_prepare(settings))
        _print_welcome(settings)
    configure_logging(
        settings.log_format,
        static={"instance": settings.resolved_instance},
        flush_seconds=settings.log_flush_seconds,
    )
    if app is None and settings.is_production:
        _warn(settings, has_public_url=has_public_url)
    with _metrics_added_up(workers):
        uvicorn.run(
            app or target().factory,
            factory=app is None,
            host=host,
            port=port,
            workers=workers,
            reload=reload,
            app_dir="." if app is not None else None,
            log_config=None,
            access_log=False,
            # Forwarding headers are ClientAddressMiddleware's, which reads them from the right.
            proxy_headers=False,
            server_header=False,
            http="hardpoint.cli.http_protocol:HttpProtocol",
            ws="hardpoint.realtime.uvicorn:SocketProtocol",
            ws_max_size=65_536,
            # Who does not answer is gone after 40 seconds.
            ws_ping_interval=20,
            ws_ping_timeout=20,
            # Negotiated compression more than doubles a connection's memory.
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )


@contextmanager
def _metrics_added_up(workers: int) -> Iterator[None]:
    """Several workers share the files in which prometheus-client then keeps its values."""
    if workers == 1 or _SHARED_VALUES in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="hardpoint-metrics-") as folder:
        os.environ[_SHARED_VALUES] = folder
        yield


def _warn(settings: Settings, *, has_public_url: bool) -> None:
    """Of what a production usually sets, and goes wrong without a word where it has to."""
    if not settings.trusted_proxies:
        # Behind a proxy that is not trusted everybody is one client, with one limit.
        remedy = f"behind a proxy set {settings.variable('trusted_proxies')} to its address"
        logger.warning("no_trusted_proxies", remedy=remedy)
    if not has_public_url:
        # The links of its mails lead there, and pages of another origin may do nothing with a cookie.
        remedy = f"set {settings.variable('public_url')} to the address that browsers use"
        logger.warning("no_public_url", assumed=settings.resolved_public_url, remedy=remedy)


async def _prepare(settings: Settings) -> None:
    await prepare_database(settings)
    # Workers would find out one after another.
    service().load_secret(settings)
    service().load_keys(settings)


def _print_welcome(settings: Settings) -> None:
    if settings.environment != "development":
        return
    url, name = settings.resolved_public_url, target().name
    variable = settings.variable("database_url")
    # A second terminal has not what this one or `dev` has set. It may hold a password, so it is not repeated.
    database = f"{variable}=... " if variable in os.environ else ""
    click.echo(f"{name} {target().version}, development, on {url}")
    for title, path in service().PAGES.items():
        click.echo(f"  {title:11}  {url}{path}")
    click.echo(f"  first admin  {database}{_as_typed(name)} users create --email you@example.com --role admin")
    if settings.smtp_url is None:
        click.echo(f"  mails        {settings.data_dir.absolute() / 'mail'}")
    sys.stdout.flush()


def _as_typed(name: str) -> str:
    """How a terminal in this folder finds the command, whether or not it has the environment's commands."""
    script, here, found = Path(sys.executable).with_name(name), Path.cwd(), shutil.which(name)
    if not script.exists() or (found is not None and script.samefile(found)):
        return name
    return str(script.relative_to(here) if script.is_relative_to(here) else script)
