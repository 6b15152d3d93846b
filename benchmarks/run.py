"""Requests per second of each variant as a share of a bare FastAPI application's, measured side by side in one run.

    make bench                         every group
    make bench ARGS="--group stack"    one of them

Each variant is a server process of its own on one core; `wrk` loads it from another. The variants take turns, round by
round, so that what else the machine does meets all of them alike; what is told is the median over the rounds of the
ratio to the bare application of the same round. Absolute figures are this machine's and say nothing about yours.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.servers import ValkeyServer  # noqa: E402 - the tests' servers, found by the line above.

GROUPS = {
    "stack": ["bare", "request_id", "access_log", "security_headers", "cors", "errors", "stack"],
    "limits": [
        "bare",
        *(
            f"limits.{library}_{store}"
            for store in ("memory", "valkey")
            for library in ("hardpoint", "limits", "fastapi_limiter", "slowapi")
        ),
    ],
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(variant: str, core: int) -> Iterator[str]:
    """The variant's URL, served by one process on one core."""
    port = free_port()
    module, _, factory = f"apps.{variant}".rpartition(".")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--factory", f"{module}:{factory}"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    if shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/item"
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        else:
            raise RuntimeError(f"{variant} did not start")
        yield url
    finally:
        process.terminate()
        process.wait()


def load(url: str, *, core: int, seconds: float, connections: int) -> float:
    """Requests per second; anything but a 200 is a fault of the benchmark."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", url]
    if shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{url} did not answer every request:\n{output}")
    match = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert match is not None, output
    return float(match[1])


def measure(variants: list[str], *, rounds: int, seconds: float, connections: int) -> dict[str, list[float]]:
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    for number in range(rounds):
        for variant in variants:
            with serving(variant, server_core) as url:
                load(url, core=load_core, seconds=seconds / 4, connections=connections)
                rates[variant].append(load(url, core=load_core, seconds=seconds, connections=connections))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=GROUPS, action="append", help="which variants; every group by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of one measurement, whole ones")
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("The benchmarks load the servers with wrk, which is not installed (Debian: apt install wrk)")
    with ValkeyServer.started() as valkey:
        os.environ["BENCHMARK_REDIS_URL"] = valkey.url.replace("valkey://", "redis://")
        report = compare(arguments)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(report, indent=2) + "\n")


def compare(arguments: argparse.Namespace) -> dict[str, object]:
    report: dict[str, object] = {}
    for group in arguments.group or list(GROUPS):
        rates = measure(
            GROUPS[group],
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            connections=arguments.connections,
        )
        bare = rates[GROUPS[group][0]]
        print(f"\n{group}: {arguments.rounds} rounds of {arguments.seconds:g} s, {arguments.connections} connections")
        print(f"{'variant':24} {'requests/s':>12} {'of bare':>9}")
        for variant, values in rates.items():
            ratio = statistics.median(value / base for value, base in zip(values, bare, strict=True))
            print(f"{variant:24} {statistics.median(values):12.0f} {ratio:9.2f}")
            report[f"{group}/{variant}"] = {"requests_per_second": values, "ratio": ratio}
    return report


if __name__ == "__main__":
    main()
