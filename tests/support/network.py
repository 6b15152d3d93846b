"""Ways between processes that can be cut, held and slowed: TCP proxies in a thread of their own."""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from support.servers import lasting_port

T = TypeVar("T")
Target = int | Path
"""A port of 127.0.0.1, or a Unix socket."""

_CHUNK_BYTES = 65_536
# With this, closing sends a reset: what a peer sees whose connection is cut, instead of an orderly end.
_AT_ONCE = struct.pack("ii", 1, 0)


class Link:
    """A port of 127.0.0.1 that leads to a target; made by `Network.link`.

    Attributes:
        name: What it is called in a test's account.
        port: Where to connect instead of to the target.
        target: Where it leads to.
    """

    def __init__(self, name: str, target: Target, call: Callable[[Awaitable[None]], None]) -> None:
        self.name = name
        self.port = lasting_port()
        self.target = target
        self._call = call
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._delay_seconds = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        self._call(self._cut())

    def hold(self) -> None:
        """Let nothing through, either way, and answer nobody, until `heal`: as a network that drops every packet."""
        self._call(self._set(passing=False))

    def slow(self, delay_seconds: float) -> None:
        """Let each piece of data wait so long, either way, until `heal`."""
        self._call(self._set(delay_seconds=delay_seconds))

    def heal(self, *, reset: bool = False) -> None:
        """As before. What was held goes on, or with `reset` is reset: as by a router that forgot its connections."""
        self._call(self._heal(reset=reset))

    async def _set(self, *, passing: bool = True, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds
        if passing:
            self._passing.set()
        else:
            self._passing.clear()

    async def _cut(self) -> None:
        await self.close()
        await self._set()

    async def _heal(self, *, reset: bool) -> None:
        if reset:
            self._reset()
        await self._set()
        if self._server is None:
            await self.open()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_CHUNK_BYTES)

    async def end(self) -> None:
        """Close, and wait until nothing is left."""
        await self.close()
        await self._set()
        await asyncio.gather(*self._connections)

    async def close(self) -> None:
        """Listen no more, and reset what is connected."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            _abort(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._passing.wait()
            onwards = await self._connect()
            self._writers.add(onwards[1])
            try:
                await asyncio.gather(self._pass_on(reader, onwards[1]), self._pass_on(onwards[0], writer))
            finally:
                self._writers.discard(onwards[1])
                _abort(onwards[1])
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            _abort(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, int):
            return await asyncio.open_connection("127.0.0.1", self.target, limit=_CHUNK_BYTES)
        return await asyncio.open_unix_connection(str(self.target), limit=_CHUNK_BYTES)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            data = await reader.read(_CHUNK_BYTES)
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            await self._passing.wait()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():
            writer.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


class Network:
    """All links of a test; make it with `Network.started`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.links: dict[str, Link] = {}

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Network"]:
        # A loop of its own: what the test itself is busy with must not slow the network.
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        network = cls(loop)
        try:
            yield network
        finally:
            network._call(network._end())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def link(self, name: str, target: Target) -> Link:
        """A new way to `target`."""
        link = self.links[name] = Link(name, target, self._call)
        self._call(link.open())
        return link

    async def _end(self) -> None:
        for link in self.links.values():
            await link.end()

    def _call(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)
