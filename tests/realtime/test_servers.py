"""The same behaviour on uvicorn's WebSocket implementation, and on ours."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from hardpoint.realtime.uvicorn import SocketProtocol
from realtime.serving import Bench, serving
from support.live import live

pytestmark = pytest.mark.anyio

MANY = 2_000


SERVERS: dict[str, dict[str, Any]] = {
    "uvicorn's": {"ws": "websockets-sansio"},
    "ours": {"ws": SocketProtocol},
    # What is compressed for each connection cannot be made for all.
    "ours, compressed": {"ws": SocketProtocol, "ws_per_message_deflate": True},
}


@pytest.fixture(params=SERVERS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with serving(server=SERVERS[request.param], max_waiting_messages=200) as served:
        yield served


@pytest.fixture
def compression(request: pytest.FixtureRequest) -> str | None:
    return "deflate" if "compressed" in request.node.callspec.params["bench"] else None


async def test_everybody_gets_everything_in_order_beside_one_who_never_reads(bench: Bench, compression: Any) -> None:
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", httpx2.URL(bench.url).port))
        async with (
            live(bench.url, "/ws?token=1/a", compression=compression) as one,
            live(bench.url, "/ws?token=2/b") as two,
            live(bench.url, "/ws?token=3/c", sock=raw, max_queue=1) as slow,
        ):
            for client in (one, two, slow):
                await client.subscribe("long")
            slow.connection.transport.pause_reading()
            reading = [asyncio.ensure_future(client.data(MANY)) for client in (one, two)]
            for number in range(MANY):
                await bench.hub.publish("long", [number, "x" * 5_000])
            received = await asyncio.gather(*reading)
            assert [[number for number, _ in data] for data in received] == [list(range(MANY))] * 2
            await bench.until(lambda: bench.hub.closings[4008] == 1)
            slow.connection.transport.resume_reading()
            assert await slow.close_code() == 4008
            # It comes back for what it missed.
            async with live(bench.url, "/ws?token=3/c") as again:
                end = (await one.subscribe("long"))["offset"]
                assert (await again.subscribe("long", end - MANY))["recovered"]
                assert [number for number, _ in await again.data(MANY)] == list(range(MANY))


async def test_what_a_client_says_and_hears_alone(bench: Bench) -> None:
    async with live(bench.url) as client:
        assert (await client.ask(type="auth", token="7/s"))["type"] == "authenticated"
        assert (await client.subscribe("unknown"))["code"] == "NOT_FOUND"
        await client.send(type="ping")
        assert await client.receive() == {"type": "pong"}
    await bench.until(lambda: bench.hub.connections == 0)
    async with live(bench.url, "/ws?token=bad") as client:
        assert await client.close_code() == 4001
