"""What a connection has yet to be sent: in order, bounded, and never anybody else's wait."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from starlette.types import Message

from hardpoint.realtime.frames import WIRE, Frames

__all__ = ["Outbox"]


class Outbox:
    """Sends text frames, and at last a close frame.

    A frame is handed to the server at once, within `put` itself, as long as the server takes it without waiting, which
    it does while the client keeps up. Only when the server would wait does a task of its own take over, and what comes
    meanwhile is queued. So a fast reader costs neither a queue nor a switch of tasks, and a slow one costs nobody else
    anything.

    Args:
        send: The connection's ASGI `send`.
        write: Writes frames at once, and says whether it could; of a server with the extension `hardpoint.frames`.
        max_messages: The most frames that wait.
        max_characters: The most characters that wait.
        on_overflow: Called when there would be more. The frame is lost, so it has to close the connection.
        on_loss: Called when the server says that the client has left.

    Attributes:
        blocked_since: Since when, on the loop's clock, the server waits for the client to read; else `None`.
    """

    __slots__ = (
        "_characters",
        "_closing",
        "_context",
        "_is_dead",
        "_max_characters",
        "_max_messages",
        "_messages",
        "_on_loss",
        "_on_overflow",
        "_send",
        "_waiting",
        "_write",
        "_writer",
        "blocked_since",
    )

    def __init__(
        self,
        send: Callable[[Message], Coroutine[Any, Any, None]],
        *,
        write: Callable[[bytes], bool] | None = None,
        max_messages: int,
        max_characters: int,
        on_overflow: Callable[[], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._send = send
        self._write = write
        self._max_messages = max_messages
        self._max_characters = max_characters
        self._on_overflow = on_overflow
        self._on_loss = on_loss
        # Only while a writer is at work: an empty deque is a sixth of what an idle connection takes here.
        self._waiting: deque[str | Frames] | None = None
        self._messages = 0
        self._characters = 0
        self._writer: asyncio.Task[None] | None = None
        # Whoever publishes calls `put`; what the middleware around `send` reads must be this connection's.
        self._context = copy_context()
        self._closing: Message | None = None
        self._is_dead = False
        self.blocked_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames are still taken."""
        return self._closing is None and not self._is_dead

    def put(self, frames: Frames) -> None:
        """Send `frames` now, or as soon as what is before them is sent; nothing once the connection closes."""
        if self._write is None:
            for text in frames.texts:
                self._put(text)
        elif self._writer is not None or not self.is_open:
            self._put(frames)
        else:
            # Without a coroutine: half of what a message costs beside the write itself.
            try:
                if self._write(frames.wire):
                    return
            except Exception:  # noqa: BLE001 - servers say in ways of their own that the client has left.
                self._lose()
            self._put(frames)

    def close(self, code: int, reason: str, *, at_once: bool = False) -> None:
        """Send a close frame after what waits, or instead of it; what is being sent comes first either way."""
        if not self.is_open:
            return
        self._closing = {"type": "websocket.close", "code": code, "reason": reason}
        if at_once:
            self._waiting = None
        if self._writer is None:
            self._start(self._closing)

    async def flushed(self) -> None:
        """Wait until nothing waits."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def end(self) -> None:
        """Stop sending, whatever waits; for when the connection is gone."""
        self._is_dead = True
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _put(self, sent: str | Frames) -> None:
        if self._closing is not None or self._is_dead:
            return
        if self._writer is None:
            self._start(_message(sent))
            return
        messages, characters = _count(sent)
        if self._messages + messages > self._max_messages or self._characters + characters > self._max_characters:
            self._on_overflow()
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(sent)
        self._messages += messages
        self._characters += characters

    def _start(self, message: Message) -> None:
        sending = self._send(message)
        try:
            waits_for = self._context.run(sending.send, None)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - see above.
            self._lose()
            return
        writer = self._send_waiting(_Resumed(sending, waits_for), is_close=message["type"] == "websocket.close")
        self._writer = asyncio.get_running_loop().create_task(writer, context=self._context)

    async def _send_waiting(self, first: Awaitable[None], *, is_close: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.blocked_since = loop.time()
            await first
            while self._waiting:
                sent = self._waiting.popleft()
                messages, characters = _count(sent)
                self._messages -= messages
                self._characters -= characters
                self.blocked_since = loop.time()
                await self._send(_message(sent))
            if self._closing is not None and not is_close:
                await self._send(self._closing)
        except Exception:  # noqa: BLE001 - see above.
            self._lose()
        finally:
            self._waiting = None
            self._messages = self._characters = 0
            self._writer = None
            self.blocked_since = None

    def _lose(self) -> None:
        if not self._is_dead:
            self._is_dead = True
            self._on_loss()


def _message(sent: str | Frames) -> Message:
    if isinstance(sent, str):
        return {"type": "websocket.send", "text": sent}
    return {"type": "websocket.send", WIRE: sent.wire}


def _count(sent: str | Frames) -> tuple[int, int]:
    return (1, len(sent)) if isinstance(sent, str) else (len(sent.texts), len(sent.wire))


class _Resumed:
    """The rest of a coroutine that was begun by hand: what it waits for first, and then itself."""

    __slots__ = ("_coroutine", "_first")

    def __init__(self, coroutine: Coroutine[Any, Any, None], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._first
        while True:
            try:
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to handle, too.
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(sent)
            except StopIteration:
                return
