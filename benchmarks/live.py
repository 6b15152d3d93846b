"""Deliveries per second, delay and memory of WebSocket fan-out, measured side by side in one run.

    make bench-live                                   every way, 1,000 connections
    make bench-live ARGS="--connections 10000 --only hardpoint"      one process; needs 10,100 open files (ulimit -n)

Each way is a server process on one core; the clients are plain sockets in another process on the other core, which
count bytes instead of parsing frames, so that the server is what is measured. The ways take turns, round by round.

    deliveries_per_second  200 messages (20 to 10,000 clients), published one after the other as fast as they are taken
    cpu_us                 the server's processor time for each of those deliveries, which other processes disturb least
    publish_ms             the longest of those calls: how long a publisher waits
    p50_ms, p99_ms         the delay from publishing to a client's socket, 10,000 deliveries a second
    alone_us               the server's processor time for each of those deliveries, of one message at a time
    stalled_ratio          p99 of 50 clients beside one that never reads, by p99 without it; inf: everybody waits
    kib_each               resident memory of the server for each idle connection

`starlette_loop` is the textbook's: every socket is sent to in turn. `hardpoint_portable` is hardpoint on the same
WebSocket implementation; `hardpoint` and `hardpoint_valkey` are it as `hardpoint serve` runs it.
"""

import argparse
import asyncio
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from run import HERE, ValkeyServer
from serving import free_port

UVICORNS = "websockets-sansio"
OURS = "hardpoint.realtime.uvicorn:SocketProtocol"
WAYS = {
    "starlette_loop": ("starlette_loop", UVICORNS),
    "hardpoint_portable": ("hardpoint_memory", UVICORNS),
    "hardpoint": ("hardpoint_memory", OURS),
    "hardpoint_valkey": ("hardpoint_valkey", OURS),
    "broadcaster": ("broadcaster_memory", UVICORNS),
    "python_socketio": ("python_socketio", UVICORNS),
}
NAMES = {
    "deliveries_per_second": 0,
    "cpu_us": 2,
    "publish_ms": 1,
    "p50_ms": 1,
    "p99_ms": 1,
    "alone_us": 2,
    "stalled_ratio": 2,
    "kib_each": 1,
}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
BURST_DELIVERIES, MOST_AT_ONCE, PACED, PACED_DELIVERIES_PER_SECOND, STALLED_CONNECTIONS = 200_000, 200, 30, 10_000, 50
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SUBSCRIBE = b'{"type":"subscribe","channel":"all"}'
MESSAGE = re.compile(rb'"number": ?"(\d{8})", ?"at": ?"(\d{10}\.\d{9})"')
PING = re.compile(rb"\x89\x04(....)", re.DOTALL)
# Engine.IO's own ping and pong (protocol 4).
SOCKETIO_PING, SOCKETIO_PONG = b"\x81\x012", b"3"


def frame(payload: bytes, *, kind: int = 0x81) -> bytes:
    # A client's frames are masked (RFC 6455, section 5.3); with zeros the payload stays what it is.
    assert len(payload) < 126
    return bytes([kind, 0x80 | len(payload)]) + bytes(4) + payload


class Client(asyncio.Protocol):
    """A socket that notes when each message arrived."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.ready = asyncio.get_running_loop().create_future()
        self.numbers: list[int] = []
        self.delays: list[float] = []
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        is_socketio = self.way == "python_socketio"
        path = "/socket.io/?EIO=4&transport=websocket" if is_socketio else "/ws"
        transport.write(HANDSHAKE.format(path=path).encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if (ping := PING.search(data)) is not None:
            self.transport.write(frame(ping[1], kind=0x8A))
        if self.way == "python_socketio" and SOCKETIO_PING in data:
            self.transport.write(frame(SOCKETIO_PONG))
        found = MESSAGE.findall(self._buffer + data)
        if found:
            self.numbers += [int(number) for number, _ in found]
            self.delays += [now - float(at) for _, at in found]
            # What is left may be the beginning of a message.
            self._buffer = (self._buffer + data).rpartition(b"padding")[2][-400:]
            return
        self._buffer += data
        if not self.ready.done():
            self._join()

    def _join(self) -> None:
        if self.way == "python_socketio":
            if b'"sid"' in self._buffer and b"0{" in self._buffer and not hasattr(self, "asked"):
                self.asked = True
                self.transport.write(frame(b"40"))
            elif b"40{" in self._buffer:
                self.ready.set_result(None)
        elif b"\r\n\r\n" in self._buffer and not hasattr(self, "asked"):
            self.asked = True
            self.transport.write(frame(SUBSCRIBE))
        if b"subscribed" in self._buffer:
            self.ready.set_result(None)
        elif b'"type":"error"' in self._buffer:
            # The store was too slow for a moment; on a busy machine that happens.
            self._buffer = b""
            self.transport.write(frame(SUBSCRIBE))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("closed"))


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    assert match is not None
    return int(match[1])


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def call(url: str) -> Any:
    def fetch() -> Any:
        method = "POST" if "/publish" in url else "GET"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=600) as answer:
            return json.load(answer)

    return await asyncio.to_thread(fetch)


async def received(clients: list[Client], count: int) -> float:
    """When every client has `count` messages more."""
    try:
        async with asyncio.timeout(600):
            while min(len(client.numbers) for client in clients) < count:
                await asyncio.sleep(0.002)
    except TimeoutError:
        missing = [client for client in clients if len(client.numbers) < count]
        lost = sum(client.transport.is_closing() for client in clients)
        raise TimeoutError(f"{len(missing)} of {len(clients)} clients miss messages, {lost} are cut off") from None
    ended = time.monotonic()
    # Everything, once, and in an order that is the same for all.
    assert all(client.numbers == clients[0].numbers for client in clients)
    counted = Counter(clients[0].numbers)
    publishers = set(counted.values())
    assert len(publishers) == 1
    assert len(counted) * publishers.pop() == count
    return ended


@asynccontextmanager
async def serving(way: str, core: int | None = None) -> AsyncIterator[tuple[str, int]]:
    """The server's URL and its process id."""
    app, implementation = WAYS[way]
    command = [] if core is None else ["taskset", "-c", str(core)]
    command += [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--factory", f"apps.live:{app}"]
    command += ["--no-access-log", "--log-level", "critical", "--backlog", "4096"]
    command += ["--ws", implementation, "--ws-per-message-deflate", "false", "--timeout-graceful-shutdown", "1"]
    process, url = await started(command)
    try:
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


async def started(command: list[str]) -> tuple["subprocess.Popen[bytes]", str]:
    """A server that answers; somebody's connection may take a port that was free a moment ago."""
    for _ in range(5):
        port = free_port()
        process = subprocess.Popen([*command, "--port", str(port)])
        while process.poll() is None:
            try:
                await call(f"http://127.0.0.1:{port}/item")
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return process, f"http://127.0.0.1:{port}"
    raise RuntimeError("The server does not start")


async def connect(way: str, url: str, connections: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    port = int(url.rpartition(":")[2])
    clients: list[Client] = []
    for start in range(0, connections, 100):
        some = [
            (await loop.create_connection(lambda: Client(way), "127.0.0.1", port))[1]
            for _ in range(min(100, connections - start))
        ]
        await asyncio.gather(*(client.ready for client in some))
        clients += some
    # The server's own count; it also tells the application of its hub.
    assert not way.startswith("hardpoint") or await call(f"{url}/hub") >= connections
    return clients


async def measure(way: str, connections: int, core: int) -> dict[str, float]:
    async with serving(way, core) as (url, pid):
        burst = min(MOST_AT_ONCE, BURST_DELIVERIES // connections)
        before = resident_kib(pid)
        clients = await connect(way, url, connections)
        each = (resident_kib(pid) - before) / connections
        began, cpu = time.monotonic(), processor_seconds(pid)
        publishing = asyncio.ensure_future(call(f"{url}/publish?count={burst}"))
        ended, longest = await asyncio.gather(received(clients, burst), publishing)
        burst_cpu, cpu = processor_seconds(pid) - cpu, processor_seconds(pid)
        delays = await paced(clients, url)
        paced_cpu = processor_seconds(pid) - cpu
        for client in clients:
            client.transport.abort()
    return {
        "deliveries_per_second": burst * connections / (ended - began),
        "cpu_us": burst_cpu * 1e6 / (burst * connections),
        "publish_ms": longest * 1_000,
        "p50_ms": 1_000 * statistics.median(delays),
        "p99_ms": percentile_ms(delays),
        "alone_us": paced_cpu * 1e6 / (PACED * connections),
        "kib_each": each,
    }


async def measure_stalled(way: str, core: int) -> dict[str, float]:
    """The delay with one client that never reads, as a share of the delay without it; infinite for a stall."""
    async with serving(way, core) as (url, _):
        clients = await connect(way, url, STALLED_CONNECTIONS)
        without = percentile_ms(await paced(clients, url))
        (slow,) = await connect(way, url, 1)
        slow.transport.pause_reading()
        ratio = math.inf
        try:
            async with asyncio.timeout(15):
                # What the network holds for it is filled first.
                await call(f"{url}/publish?count=400&size=30000&pause_ms=5")
                ratio = percentile_ms(await paced(clients, url)) / without
        except TimeoutError:
            pass
        for client in [*clients, slow]:
            client.transport.abort()
    return {"stalled_ratio": ratio}


def percentile_ms(delays: list[float]) -> float:
    return 1_000 * sorted(delays)[int(len(delays) * 0.99)]


async def paced(clients: list[Client], url: str) -> list[float]:
    for client in clients:
        client.numbers, client.delays = [], []
    pause_ms = max(100, 1_000 * len(clients) / PACED_DELIVERIES_PER_SECOND)
    publishing = asyncio.ensure_future(call(f"{url}/publish?count={PACED}&pause_ms={pause_ms}"))
    await asyncio.gather(received(clients, PACED), publishing)
    return [delay for client in clients for delay in client.delays]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(WAYS), action="append")
    arguments = parser.parse_args()
    ways = arguments.only or list(WAYS)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with ValkeyServer.started() as valkey:
        os.environ["BENCHMARK_REDIS_URL"] = valkey.url
        for number in range(arguments.rounds):
            for way in ways:
                measured = await measure(way, arguments.connections, cores[0])
                results[way].append({**measured, **await measure_stalled(way, cores[0])})
                print(f"{way}: {results[way][-1]}", file=sys.stderr)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    print(f"{arguments.connections} connections, medians of {arguments.rounds} rounds")
    print(f"{'way':20}" + "".join(f"{name:>22}" for name in NAMES))
    for way, rounds in results.items():
        medians = {name: statistics.median(measured[name] for measured in rounds) for name in NAMES}
        print(f"{way:20}" + "".join(f"{medians[name]:22.{digits}f}" for name, digits in NAMES.items()))
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"live-{arguments.connections}.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
