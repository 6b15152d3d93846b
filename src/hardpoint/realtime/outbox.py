"""What a connection has yet to be sent: in order, bounded, and never anybody else's wait."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from starlette.types import Message

__all__ = ["Outbox"]


class Outbox:
    """Sends text frames, and at last a close frame.

    A frame is handed to the server at once, within `put` itself, as long as the server takes it without waiting, which
    it does while the client keeps up. Only when the server would wait does a task of its own take over, and what comes
    meanwhile is queued. So a fast reader costs neither a queue nor a switch of tasks (1.6 times the deliveries of a
    task and a queue for each connection), and a slow one costs nobody else anything.

    Args:
        send: The connection's ASGI `send`.
        max_messages: The most frames that wait.
        max_characters: The most characters that wait.
        on_overflow: Called when there would be more. The frame is lost, so it has to close the connection.

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
        "_on_overflow",
        "_send",
        "_waiting",
        "_writer",
        "blocked_since",
    )

    def __init__(
        self,
        send: Callable[[Message], Coroutine[Any, Any, None]],
        *,
        max_messages: int,
        max_characters: int,
        on_overflow: Callable[[], None],
    ) -> None:
        self._send = send
        self._max_messages = max_messages
        self._max_characters = max_characters
        self._on_overflow = on_overflow
        self._waiting: deque[str] = deque()
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

    def put(self, text: str) -> None:
        """Send `text` now, or as soon as what is before it is sent; nothing once the connection closes."""
        if not self.is_open:
            return
        if self._writer is None:
            self._start({"type": "websocket.send", "text": text})
        elif len(self._waiting) >= self._max_messages or self._characters + len(text) > self._max_characters:
            self._on_overflow()
        else:
            self._waiting.append(text)
            self._characters += len(text)

    def close(self, code: int, reason: str, *, at_once: bool = False) -> None:
        """Send a close frame after what waits, or instead of it; what is being sent comes first either way."""
        if not self.is_open:
            return
        self._closing = {"type": "websocket.close", "code": code, "reason": reason}
        if at_once:
            self._waiting.clear()
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

    def _start(self, message: Message) -> None:
        sending = self._send(message)
        try:
            waits_for = self._context.run(sending.send, None)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - servers say in ways of their own that the client has left; the reader hears it.
            self._is_dead = True
            return
        writer = self._write(_Resumed(sending, waits_for), is_close=message["type"] == "websocket.close")
        self._writer = asyncio.get_running_loop().create_task(writer, context=self._context)

    async def _write(self, first: Awaitable[None], *, is_close: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.blocked_since = loop.time()
            await first
            while self._waiting:
                text = self._waiting.popleft()
                self._characters -= len(text)
                self.blocked_since = loop.time()
                await self._send({"type": "websocket.send", "text": text})
            if self._closing is not None and not is_close:
                await self._send(self._closing)
        except Exception:  # noqa: BLE001 - see above.
            self._is_dead = True
        finally:
            self._writer = None
            self.blocked_since = None


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
