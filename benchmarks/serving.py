"""A variant as a server process on one core, and a load on it from another."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
_TICKS = os.sysconf("SC_CLK_TCK")

_LIMIT_HEADERS = [
    "x-ratelimit-limit:100000000",
    'ratelimit-policy:"default";q=100000000;w=60',
    "x-ratelimit-remaining:99999999",
    "x-ratelimit-reset:1",
    'ratelimit:"default";r=99999999;t=1',
]
# What the server sends of its own accord: variants that do nothing but have the headers of those that do.
SERVER_HEADERS = {
    "limits.headers": _LIMIT_HEADERS,
    "http.headers": [
        *_LIMIT_HEADERS,
        "vary:Origin",
        "x-content-type-options:nosniff",
        "referrer-policy:no-referrer",
        "x-frame-options:DENY",
        "content-security-policy:default-src 'none'; frame-ancestors 'none'",
        "cross-origin-opener-policy:same-origin",
        "cross-origin-resource-policy:same-origin",
        "server-timing:app;dur=0.39",
        "x-request-id:90de2158dded1720",
    ],
}
SERVER_HEADERS |= dict.fromkeys(["http.headers_compiled", "http.headers_steps"], SERVER_HEADERS["http.headers"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def on_core(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") else command


@dataclass
class Server:
    """A running variant.

    Attributes:
        root: Its address.
        log: The file of its request log.
        process: Its process, or the parent of its workers.
    """

    root: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def cpu_seconds(self) -> float:
        """Processor time of the process and its workers, so far."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def resident_kib(self) -> int:
        """Resident memory of the process and its workers."""
        return sum(_resident_kib(pid) for pid in self._pids())

    def stop(self, number: signal.Signals) -> None:
        for pid in self._pids():
            os.kill(pid, number)

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_kib(pid: int) -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) if match else 0


@contextmanager
def serving(
    variant: str, *, environment: Mapping[str, str] | None = None, workers: int = 1, core: int | None = SERVER_CORE
) -> Iterator[Server]:
    """The variant `module.factory` of `apps`, served by uvicorn with uvloop and httptools, its access log off."""
    sent = [option for header in SERVER_HEADERS.get(variant, ()) for option in ("--header", header)]
    module, _, factory = f"apps.{variant}".rpartition(".")
    with TemporaryDirectory(prefix="hardpoint-bench-") as folder:
        port, log = free_port(), Path(folder) / "requests.log"
        log.touch()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--factory", f"{module}:{factory}"]
        command += ["--port", str(port), "--no-access-log", "--no-server-header", "--log-level", "warning", *sent]
        if workers > 1:
            command += ["--workers", str(workers)]
        process = subprocess.Popen(
            command if core is None else on_core(core, command),
            stderr=None if os.environ.get("BENCHMARK_VERBOSE") else subprocess.DEVNULL,
            env={**os.environ, "BENCHMARK_LOG": str(log), "BENCHMARK_FOLDER": folder, **(environment or {})},
        )
        server = Server(f"http://127.0.0.1:{port}", log, process)
        try:
            _wait(server, variant)
            yield server
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait()


def _wait(server: Server, variant: str) -> None:
    for _ in range(1_200):
        try:
            urllib.request.urlopen(f"{server.root}/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            if server.process.poll() is not None:
                break
            time.sleep(0.05)
            continue
        return
    raise RuntimeError(f"{variant} did not start")


@dataclass(frozen=True)
class Load:
    """What a load found.

    Attributes:
        requests_per_second: By the wall clock.
        cpu_us: Processor time of the server for each request, in microseconds.
        p99_ms: The latency that one request in a hundred exceeds.
    """

    requests_per_second: float
    cpu_us: float
    p99_ms: float


def load(
    server: Server,
    path: str = "/items/7",
    *,
    seconds: int,
    connections: int = 32,
    headers: Mapping[str, str] | None = None,
    script: Path | None = None,
) -> Load:
    """Requests by `wrk` from the other core; anything but a 2xx is a fault of the benchmark."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"{server.root}{path}"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    before = server.cpu_seconds()
    output = subprocess.run(on_core(LOAD_CORE, command), capture_output=True, text=True, check=True).stdout
    used = server.cpu_seconds() - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{server.root}{path} did not answer every request:\n{output}")
    count, rate = re.search(r"(\d+) requests in", output), re.search(r"Requests/sec:\s+([0-9.]+)", output)
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)", output)
    assert count is not None
    assert rate is not None
    assert p99 is not None
    scale = {"us": 0.001, "ms": 1.0, "s": 1_000.0}[p99[2]]
    return Load(float(rate[1]), 1e6 * used / int(count[1]), float(p99[1]) * scale)
