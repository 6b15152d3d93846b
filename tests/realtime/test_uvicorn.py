"""The server's protocol against clients that mean harm, or are gone: over plain sockets, frame by frame."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from hardpoint.realtime.uvicorn import SocketProtocol
from realtime.serving import Bench, serving
from support.asgi import logged
from support.live import live

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    b"GET /ws?token=1/s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONTINUATION, TEXT, PING, FIN = 0x0, 0x1, 0x9, 0x80
PROTOCOLS: list["Watched"] = []


class Watched(SocketProtocol):
    """Ours, which a test can look into."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        PROTOCOLS.append(self)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    PROTOCOLS.clear()
    async with serving(server={"ws": Watched}, closing_seconds=0.1) as served:
        yield served
    PROTOCOLS.clear()


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A client's frame, masked with zeros, which leave the payload as it is (RFC 6455, section 5.3)."""
    return struct.pack("!BB", kind, 0x80 | len(payload)) + bytes(4) + payload


SUBSCRIBE = frame(FIN | TEXT, b'{"type":"subscribe","channel":"news"}')


class Raw:
    """A connection that has shaken hands, and does what it likes."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(30):
            await self._loop.sock_sendall(self._raw, data)

    async def read(self, most: int = 65_536) -> bytes:
        async with asyncio.timeout(30):
            return await self._loop.sock_recv(self._raw, most)

    async def until_cut(self, data: bytes = b"") -> int:
        """Send `data` over and over until the server cuts the connection; how often it was sent whole."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while data:
                await self.send(data)
                sent += 1
            while await self.read():
                pass
        return sent


@asynccontextmanager
async def raw_socket(bench: Bench, *, receive_buffer: int = 0) -> AsyncIterator[Raw]:
    with socket.socket() as raw:
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", httpx2.URL(bench.url).port))
        client = Raw(raw)
        await client.send(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await client.read()
        assert b" 101 " in answer
        yield client


@pytest.mark.parametrize(
    ("first", "flood"),
    [
        (b"", frame(FIN | PING, b"x" * 125) * 100),
        (b"", frame(FIN | 0xA) * 100),
        (frame(TEXT), frame(CONTINUATION) * 100),
        (b"", frame(FIN | TEXT, b'{"type":"ping"}') * 100),
    ],
    ids=["pings", "pongs", "fragments", "messages"],
)
async def test_a_flood_is_cut_off_and_nobody_else_notices(bench: Bench, first: bytes, flood: bytes) -> None:
    async with live(bench.url, "/ws?token=2/t") as other, raw_socket(bench) as client:
        with logged("hardpoint.realtime") as records:
            await client.send(first)
            await client.until_cut(flood)
            assert records.fields("socket_flooded") == [{"client": "127.0.0.1"}]
        await bench.until(lambda: bench.hub.connections == 1)
        assert await other.ask(type="ping") == {"type": "pong"}


async def test_a_message_in_a_thousand_fragments_is_read_and_in_more_is_not(bench: Bench) -> None:
    text = b'{"type":"ping"}'.ljust(900)
    pieces = [frame(CONTINUATION, text[place : place + 1]) for place in range(1, 899)]
    async with raw_socket(bench) as client:
        await client.send(frame(TEXT, text[:1]) + b"".join(pieces) + frame(FIN | CONTINUATION, text[899:]))
        assert b'{"type":"pong"}' in await client.read()
    async with raw_socket(bench) as client:
        # Slowly enough not to be a flood.
        await client.send(frame(TEXT))
        for _ in range(3):
            await client.send(frame(CONTINUATION) * 600)
            PROTOCOLS[-1]._counted_from = 0.0
        await client.until_cut()


async def test_pings_are_answered_within_bounds(bench: Bench) -> None:
    async with raw_socket(bench) as client:
        await client.send(frame(FIN | PING, b"are you there"))
        assert await client.read() == bytes([FIN | 0xA, 13]) + b"are you there"


async def test_nothing_is_read_from_who_does_not_read(bench: Bench) -> None:
    """Or its pings' pongs would pile up in memory."""
    async with raw_socket(bench, receive_buffer=4_096) as client:
        await client.send(SUBSCRIBE)
        await bench.until(lambda: bench.hub.subscriptions == 1)
        (protocol,) = PROTOCOLS
        while protocol.writable.is_set():
            await bench.hub.publish("news", "x" * 50_000)
            await asyncio.sleep(0)
        assert not protocol.transport.is_reading()
        before = protocol.transport.get_write_buffer_size()
        for _ in range(20):
            await client.send(frame(FIN | PING, b"x" * 125) * 20)
            await asyncio.sleep(0.01)
        assert protocol.transport.get_write_buffer_size() <= before
        # It reads again, and is read again.
        while not protocol.writable.is_set():
            await client.read()
        assert protocol.transport.is_reading()


@pytest.mark.parametrize("kind", ["idle", "busy"])
async def test_a_client_that_has_vanished_is_found_by_its_silence(kind: str) -> None:
    """A process that is stopped: its kernel acknowledges, and nobody answers the server's pings."""
    server = {"ws_ping_interval": 1, "ws_ping_timeout": 0.3}
    async with serving(server=server) as bench:
        script = (
            "import socket, sys\n"
            "client = socket.socket()\n"
            "client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n"
            f"client.connect(('127.0.0.1', {httpx2.URL(bench.url).port}))\n"
            f"client.sendall({HANDSHAKE!r})\n"
            "client.recv(4096)\n"
            f"client.sendall({SUBSCRIBE!r})\n"
            "sys.stdin.read()\n"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE)
        try:
            await bench.until(lambda: bench.hub.subscriptions == 1)
            os.kill(process.pid, signal.SIGSTOP)
            if kind == "busy":
                # More than the network holds for it, so that it cannot even be told.
                for _ in range(100):
                    await bench.hub.publish("news", "x" * 50_000)
                    await asyncio.sleep(0)
            await bench.until(lambda: bench.hub.connections == 0)
            assert bench.hub.subscriptions == 0
        finally:
            process.kill()
            await process.wait()


async def test_who_does_not_read_even_why_it_is_closed_is_cut_off(bench: Bench) -> None:
    async with raw_socket(bench, receive_buffer=4_096) as client:
        await client.send(SUBSCRIBE)
        await bench.until(lambda: bench.hub.subscriptions == 1)
        (protocol,) = PROTOCOLS
        protocol.close_timeout = 0.1
        while bench.hub.closings[4008] == 0:
            await bench.hub.publish("news", "x" * 50_000)
            await asyncio.sleep(0)
        await bench.until(lambda: bench.hub.connections == 0)
        await bench.until(lambda: protocol not in protocol.connections)


async def test_who_reads_a_byte_at_a_time_is_too_slow() -> None:
    async with serving(stalled_seconds=0.5, closing_seconds=0.1) as bench, live(bench.url, "/ws?token=2/t") as fast:
        await fast.subscribe("news")
        async with raw_socket(bench, receive_buffer=4_096) as client:
            await client.send(SUBSCRIBE)
            await bench.until(lambda: bench.hub.subscriptions == 2)
            number = 0
            while not bench.hub.closings[4008]:
                # More than the network holds, and less than may wait.
                if number < 100:
                    await bench.hub.publish("news", [number, "x" * 50_000])
                    assert (await fast.receive())["data"][0] == number
                    number += 1
                await client.read(1)
                await asyncio.sleep(0.01)
            await bench.until(lambda: bench.hub.connections == 1)


async def test_who_reads_but_does_not_answer_a_close_is_cut_off(bench: Bench) -> None:
    async with raw_socket(bench) as client:
        await client.send(frame(FIN | TEXT, b'{"type":"ping"}'))
        await client.read()
        (protocol,) = PROTOCOLS
        protocol.close_timeout = 0.1
        del bench.users.rights_of["s"]
        assert await client.read() == bytes([0x88, 23]) + struct.pack("!H", 4003) + b"The session has ended"
        await client.until_cut()
        await bench.until(lambda: protocol not in protocol.connections)


async def test_a_handshake_larger_than_what_is_looked_at_at_once(bench: Bench) -> None:
    headers = {f"X-{number}": "x" * 1_000 for number in range(6)}
    async with live(bench.url, "/ws?token=1/s", additional_headers=headers) as client:
        assert await client.ask(type="ping") == {"type": "pong"}
