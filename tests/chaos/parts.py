"""The service's processes: started, killed, watched, and started again when they end by themselves."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import psutil

from chaos.account import Account
from support.service import environment

# What an orchestrator waits at most before it kills (deploy/compose.yaml).
STOP_SECONDS = 60
_RESTART_SECONDS = 0.5
# What nobody should read in a log, whatever happens to the parts.
_NEVER = {"service_failed", "unhandled_exception", "realtime_check_failed", "realtime_work_failed", "task_failed"}


class Part:
    """One process of the service, which its keeper starts again whenever it ends unasked.

    Args:
        name: What it is called in the account.
        words: The command's words after `hardpoint`.
        folder: Where it runs, and where its log is.
        settings: Its settings.
        account: What it tells of itself to.
        ready_at: The address that says that it is ready; a worker says so in its log.
    """

    def __init__(
        self,
        name: str,
        *words: str,
        folder: Path,
        settings: dict[str, str],
        account: Account,
        ready_at: str | None = None,
    ) -> None:
        self.name = name
        self._words = words
        self._folder = folder
        self._settings = settings
        self._account = account
        self._ready_at = ready_at
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False
        self._place = 0
        self.starts = 0
        self.events: Counter[str] = Counter()
        self.events_of_this_start: Counter[str] = Counter()
        folder.mkdir()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log_file(self) -> Path:
        return self._folder / "log"

    def start(self) -> None:
        self.read_log()
        self.events_of_this_start.clear()
        self.starts += 1
        command = [sys.executable, "-m", "hardpoint.cli", *self._words]
        with self.log_file.open("a") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment(**self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._is_wanted = True

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL, and leave it ended until `start`."""
        self._is_wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """End it with SIGTERM, and leave it ended until `start`."""
        self._is_wanted = False
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._account.violated(f"{self.name} did not end within {STOP_SECONDS} seconds of SIGTERM")
            self.kill()
        else:
            self._account.note(f"{self.name} has ended with status {status}")

    async def keep(self) -> None:
        """Start it again whenever it ends unasked, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            if self._is_wanted and self._process is not None and self._process.poll() is not None:
                self._account.note(f"{self.name} has ended by itself with status {self._process.returncode}")
                await asyncio.sleep(_RESTART_SECONDS)
                if self._is_wanted:
                    self.start()

    async def is_ready(self, client: httpx2.AsyncClient) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        self.read_log()
        if self._ready_at is None:
            return self.events_of_this_start["worker_started"] > 0
        try:
            return (await client.get(self._ready_at)).status_code == 200
        except httpx2.TransportError:
            return False

    @property
    def memory_mib(self) -> float | None:
        """What it keeps in memory, when it runs."""
        try:
            return None if self._process is None else psutil.Process(self._process.pid).memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            return None

    def read_log(self) -> None:
        """Count the events that the log has since the last time."""
        if not self.log_file.exists():
            return
        with self.log_file.open("rb") as log:
            log.seek(self._place)
            lines = log.read().split(b"\n")
        self._place += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            self._count(line)

    def _count(self, line: bytes) -> None:
        try:
            entry: dict[str, Any] = json.loads(line)
            event = str(entry["event"])
        except (ValueError, KeyError, TypeError):
            # Not a log line: a traceback that passed our logging by, or an operator's message.
            if line.startswith(b"Traceback"):
                self._account.violated(f"{self.name} has printed a traceback, see {self.log_file}")
            return
        self.events[event] += 1
        self.events_of_this_start[event] += 1
        if event in _NEVER:
            self._account.violated(f"{self.name} has logged {event}: {line.decode()[-2_000:]}")
