"""Two server processes on one Valkey, thousands of sockets, and one client at each that never reads.

    make stress-live                         2,000 connections
    make stress-live ARGS="--connections 500 --rounds 1"

Everybody else must get every message once and in order: otherwise it ends with an error. What is measured is the delay
from publishing to a client's socket without the two who never read, and beside them, in turns.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
from contextlib import AsyncExitStack

from live import Client, call, connect, frame, percentile_ms, received, serving
from run import HERE, ValkeyServer

MESSAGES, PAUSE_MS = 50, 100.0
# What the network and the server's buffers hold for a client.
FILLING = "count=400&size=30000"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds: list[dict[str, float]] = []
    async with AsyncExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer.started())
        os.environ["BENCHMARK_REDIS_URL"] = valkey.url
        urls = [(await stack.enter_async_context(serving("hardpoint_valkey")))[0] for _ in range(2)]
        clients = [client for url in urls for client in await connect("hardpoint", url, arguments.connections // 2)]
        print(f"{len(clients)} connections to 2 processes", file=sys.stderr)
        for number in range(arguments.rounds):
            measured = await one_round(clients, urls)
            rounds.append(measured)
            told = ", ".join(f"{name} {value:.1f}" for name, value in measured.items())
            print(f"round {number + 1} of {arguments.rounds}: {told}", file=sys.stderr)
        for client in clients:
            client.transport.abort()
    print(f"{arguments.connections} connections, medians of {arguments.rounds} rounds, every message once and in order")
    for name in rounds[0]:
        print(f"{name:24}{statistics.median(measured[name] for measured in rounds):10.2f}")
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"stress-live-{arguments.connections}.json").write_text(json.dumps(rounds, indent=2) + "\n")


async def one_round(clients: list[Client], urls: list[str]) -> dict[str, float]:
    without = await publish(clients, urls)
    slow = [client for url in urls for client in await connect("hardpoint", url, 1)]
    for client in slow:
        client.transport.pause_reading()
        client.transport.write(frame(b'{"type":"subscribe","channel":"filler"}'))
    await asyncio.sleep(1)
    await call(f"{urls[0]}/publish/filler?{FILLING}")
    closed = await closings(urls)
    beside = await publish(clients, urls)
    # They were there all the time, and not among those who were closed for it.
    assert await closings(urls) == closed
    for client in slow:
        client.transport.abort()
    return {
        "p50_ms without": 1_000 * statistics.median(without),
        "p50_ms beside": 1_000 * statistics.median(beside),
        "p99_ms without": percentile_ms(without),
        "p99_ms beside": percentile_ms(beside),
        "p99 beside/without": percentile_ms(beside) / percentile_ms(without),
    }


async def publish(clients: list[Client], urls: list[str]) -> list[float]:
    """The delays of messages from both servers, which everybody must get in the channel's order."""
    for client in clients:
        client.numbers, client.delays = [], []
    how = f"count={MESSAGES}&pause_ms={2 * PAUSE_MS}"
    publishing = [asyncio.ensure_future(call(f"{url}/publish?{how}")) for url in urls]
    await asyncio.gather(received(clients, 2 * MESSAGES), *publishing)
    return [delay for client in clients for delay in client.delays]


async def closings(urls: list[str]) -> list[int]:
    return [await call(f"{url}/closings") for url in urls]


if __name__ == "__main__":
    asyncio.run(main())
