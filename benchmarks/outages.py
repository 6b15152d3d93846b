"""What a client notices of the limits while their store is away, and what a million keys take.

    make bench-limits
    make bench-limits ARGS="--callers 200 --only stopped"

A hundred callers ask one limiter, with the settings that a service has, as fast as it answers; in the middle of it the
store of the limits breaks. Every answer is timed. Beside them a timer ticks each millisecond on the same loop: what it
is late by is this machine's and the callers' own doing, and no answer can be quicker. Afterwards two limiters on two
connections say whether the limit is exact again.

    slowest_ms      the slowest answer of the limiter, the first ones of the outage among them
    slowest_tick_ms the most that a timer of one millisecond was late
    outages         how often the breaker opened
    exact           whether exactly the limit was admitted afterwards

Requests a second beside other limiters: `make bench ARGS="--group limits"`.
"""

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from redis import Redis
from run import HERE

from hardpoint.ratelimit import Charge, Rate, ResilientLimiter, open_resilient_limiter
from hardpoint.ratelimit.valkey import open_valkey_limiter
from hardpoint.valkey import ValkeyUnavailable, make_client
from support.servers import ValkeyServer

RATE = Rate(1_000_000_000 // 86_400, 1)
STRICT = Rate(500, 86_400)
SECONDS = 1.5
KEYS = 1_000_000


@contextmanager
def stopped(server: ValkeyServer) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@contextmanager
def killed(server: ValkeyServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def full(server: ValkeyServer) -> Iterator[None]:
    server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    server.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def out_of_clients(server: ValkeyServer) -> Iterator[None]:
    with Redis(port=server.port, single_connection_client=True) as client:
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("maxclients", 1_000)


@contextmanager
def paused(server: ValkeyServer) -> Iterator[None]:
    server.command("CLIENT", "PAUSE", str(int(SECONDS * 1000)), "ALL")
    yield


@contextmanager
def nothing(_: ValkeyServer) -> Iterator[None]:
    yield


FAULTS = {
    "none": nothing,
    "stopped": stopped,
    "killed": killed,
    "full": full,
    "out of clients": out_of_clients,
    "answers nobody": paused,
    "a pool exhausted": nothing,
}


async def ask(limiter: ResilientLimiter, place: int, times: list[float], until: asyncio.Event) -> None:
    charge = Charge(RATE, f"caller {place}")
    while not until.is_set():
        began = time.perf_counter()
        await limiter.hit(charge)
        times.append(time.perf_counter() - began)
        # In memory nothing is waited for, and nobody else would have a turn.
        await asyncio.sleep(0)


async def tick(late: list[float], until: asyncio.Event) -> None:
    while not until.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - began - 0.001)


@asynccontextmanager
async def exhausting(server: ValkeyServer, *, really: bool) -> AsyncIterator[None]:
    """Another part of the service, whose requests use up all of its connections."""
    client = make_client(server.url, max_connections=5, pool_timeout_seconds=0.1, timeout_seconds=None)

    async def wait(place: int) -> None:
        try:
            await client.blpop([f"nothing {place}"], timeout=SECONDS)
        except ValkeyUnavailable:
            return  # There was no connection left.

    tasks = [asyncio.create_task(wait(place)) for place in range(100 if really else 0)]
    yield
    await asyncio.gather(*tasks)
    await client.aclose()


async def is_exact(server: ValkeyServer) -> bool:
    async with (
        open_valkey_limiter(server.url, timeout_seconds=10) as one,
        open_valkey_limiter(server.url, timeout_seconds=10) as other,
    ):
        charge = Charge(STRICT, "afterwards")
        decisions = await asyncio.gather(
            *[limiter.hit(charge) for _ in range(STRICT.limit) for limiter in (one, other)]
        )
        return sum(decision.allowed for decision in decisions) == STRICT.limit


async def measure(fault: str, callers: int) -> dict[str, Any]:
    times: list[float] = []
    late: list[float] = []
    until = asyncio.Event()
    with ValkeyServer.started() as server:
        async with open_valkey_limiter(server.url) as store, open_resilient_limiter(store) as limiter:
            while limiter.breaker.is_open:
                await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                group.create_task(tick(late, until))
                for place in range(callers):
                    group.create_task(ask(limiter, place, times, until))
                await asyncio.sleep(SECONDS / 3)
                manager = FAULTS[fault](server)
                async with exhausting(server, really=fault == "a pool exhausted"):
                    await asyncio.to_thread(manager.__enter__)
                    await asyncio.sleep(SECONDS)
                    await asyncio.to_thread(manager.__exit__, None, None, None)
                while limiter.breaker.is_open:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(SECONDS / 3)
                until.set()
            outages = limiter.breaker.outages
        return {
            "answers": len(times),
            "p50_ms": round(statistics.median(times) * 1000, 2),
            "p99_ms": round(statistics.quantiles(times, n=100)[-1] * 1000, 2),
            "slowest_ms": round(max(times) * 1000, 1),
            "slowest_tick_ms": round(max(late) * 1000, 1),
            "outages": outages,
            "exact": await is_exact(server),
        }


MILLION = """
import asyncio, sys
from pathlib import Path
from hardpoint.ratelimit import Charge, MemoryLimiter, Rate
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
async def main():
    limiter, rate, before = MemoryLimiter(max_keys=int(sys.argv[1])), Rate(600, 86400), resident()
    most = 0
    for number in range(int(sys.argv[2])):
        await limiter.hit(Charge(rate, f"address:2001:db8:{number >> 16:x}:{number & 65535:x}::/64"))
        if number % 10_000 == 0:
            most = max(most, resident() - before)
    print(max(most, resident() - before))
asyncio.run(main())
"""


def memory(max_keys: int) -> int:
    command = [sys.executable, "-c", MILLION, str(max_keys), str(KEYS)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=FAULTS, action="append", help="which faults; every one by default")
    parser.add_argument("--callers", type=int, default=100)
    arguments = parser.parse_args()
    report: dict[str, Any] = {}
    for fault in arguments.only or FAULTS:
        report[fault] = asyncio.run(measure(fault, arguments.callers))
        print(f"{fault:18}", *(f"{name} {value}" for name, value in report[fault].items()), sep="  ")
    if not arguments.only:
        report["memory_bytes"] = {max_keys: memory(max_keys) for max_keys in (100_000, KEYS)}
        for max_keys, taken in report["memory_bytes"].items():
            print(f"{KEYS:,} keys, max_keys={max_keys:,}: {taken / 1e6:.1f} MB, {taken / max_keys:.0f} bytes a bucket")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "outages.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
