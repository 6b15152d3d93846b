"""uvicorn's WebSocket protocol, bounded against clients that mean harm, and with frames that are made once for all.

    uvicorn.run(app, ws=SocketProtocol)
    uvicorn --ws hardpoint.realtime.uvicorn:SocketProtocol app:app

`hardpoint serve` uses it. What it bounds is below what an application gets to see: control frames, fragments, and
connections whose client is gone or never reads, which uvicorn keeps for as long as the kernel does.
"""

import asyncio
from typing import Any, Final, cast

from typing_extensions import override
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from hardpoint.log import get_logger
from hardpoint.realtime.frames import WIRE

__all__ = ["SocketProtocol"]

logger = get_logger("hardpoint.realtime")

_MOST_FRAMES_A_SECOND: Final = 1_000
_MOST_FRAGMENTS: Final = 1_000
# A frame has at least six bytes, so this many are looked at between two counts, about four milliseconds' work.
_BYTES_AT_ONCE: Final = 2_048


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's `websockets-sansio`, and more than it.

    - A client that sends more than 1,000 frames a second, of whatever kind, or a message of more than 1,000 fragments,
      is cut off. Pings, pongs and fragments are nothing that an application could count.
    - While a client does not read, nothing more is read from it: otherwise its pings' pongs pile up in memory.
    - When a close frame, a ping or the application's end is not answered in time, the connection is cut, whatever has
      not been sent: closing alone waits for a client that acknowledges and never reads, for ever.
    - It has the ASGI extension `hardpoint.frames`, as long as no compression has been agreed on.
    - An idle connection takes 6 KiB less: its handshake is forgotten, and its queue is no `asyncio.Queue`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.queue = cast("Any", _Inbox())
        self._counted_from = 0.0
        self._frames_since = 0

    @override
    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _BYTES_AT_ONCE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + _BYTES_AT_ONCE])

    @override
    def handle_events(self) -> None:
        now = self.loop.time()
        if now - self._counted_from >= 1:
            self._counted_from, self._frames_since = now, 0
        self._frames_since += len(self.conn.events)
        if self._frames_since > _MOST_FRAMES_A_SECOND or len(self.frames) > _MOST_FRAGMENTS:
            logger.warning("socket_flooded", client=self.client[0] if self.client else None)
            self.transport.abort()
            return
        super().handle_events()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    @override
    async def receive(self) -> Any:
        message = await super().receive()
        if not self.writable.is_set():
            # What has just been resumed, before anything could be read.
            self.transport.pause_reading()
        return message

    @override
    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    @override
    async def send(self, message: Any) -> None:
        wire = message.get(WIRE)
        if wire is None:
            await super().send(message)
            if message["type"] == "websocket.accept":
                del self.request, self.response
            if self.close_timer is not None:
                self._cut_after_close_timeout()
            return
        while not self.write_frames(wire):
            await self.writable.wait()

    def write_frames(self, wire: bytes) -> bool:
        """Write frames at once; whether that could be done without waiting for the client to read.

        Raises:
            ClientDisconnected: It has left, or is closed.
        """
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        if not self.writable.is_set():
            return False
        self.transport.write(wire)
        return True

    def _cut_after_close_timeout(self) -> None:
        assert self.close_timer is not None  # noqa: S101 - narrows the type.
        self.close_timer.cancel()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    @override
    async def run_asgi(self) -> None:
        if not self.conn.extensions:
            cast("dict[str, Any]", self.scope["extensions"])[WIRE] = {"write": self.write_frames}
        await super().run_asgi()
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)


class _Inbox:
    """What `asyncio.Queue` does for one reader; its four deques and its event would be a tenth of a connection."""

    __slots__ = ("_messages", "_reader")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._reader: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._messages

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._messages.pop(0)
