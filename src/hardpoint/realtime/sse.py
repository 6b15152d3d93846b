"""Server-sent events: the same channels, over plain HTTP (WHATWG HTML, section 9.2)."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Header, Query
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from hardpoint.errors import RateLimited, ServiceUnavailable, Unauthorized
from hardpoint.log import get_logger
from hardpoint.realtime.frames import Frames
from hardpoint.realtime.hub import Hub
from hardpoint.realtime.identity import ANYBODY, Identity
from hardpoint.realtime.opening import Realtime
from hardpoint.realtime.peer import CloseCode, Peer

__all__ = ["EventStream", "EventStreamResponse", "event_stream"]

logger = get_logger("hardpoint.realtime")

_BEAT_SECONDS: Final = 15.0
_RETRY_MS: Final = 2_000
_FULL_SECONDS: Final = 10
_MAX_ID_LENGTH: Final = 8_192
_OFFSET: Final = re.compile(r"[0-9]{1,16}")


class EventStream(Peer):
    """A response that goes on: an event for each message, and a comment every 15 seconds.

    An event's id is the place in every channel of the stream, so that a client which comes back with it as
    `Last-Event-ID` gets what it missed.

    Args:
        connection: The request.
        identity: Who it is.
        hub: The hub.
    """

    def __init__(self, connection: HTTPConnection, identity: Identity, hub: Hub) -> None:
        super().__init__(connection, identity)
        self._hub = hub
        self._places: dict[str, int] = {}
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._arrived = asyncio.Event()
        self._blocked_since: float | None = None
        self._has_begun = False
        self._is_closed = False
        self.deadline = asyncio.timeout(None)

    @property
    @override
    def blocked_since(self) -> float | None:
        """Since when the server waits for the client to read."""
        return self._blocked_since

    @override
    def put(self, channel: str, frames: Frames) -> None:
        """Send frames as events."""
        for offset, text in zip(frames.offsets, frames.texts, strict=True):
            self._put(channel, offset, text)

    def _put(self, channel: str, offset: int, text: str) -> None:
        if self._is_closed:
            return
        limits = self._hub.limits
        # What was missed is put before the response begins, and is bounded by the history.
        if self._has_begun and (
            len(self._waiting) >= limits.max_waiting_messages
            or self._characters + len(text) > limits.max_waiting_characters
        ):
            self.overflowed()
            return
        self._places[channel] = offset
        event = f"id: {urlencode(self._places)}\ndata: {text}\n\n"
        self._waiting.append(event)
        self._characters += len(event)
        self._arrived.set()

    @override
    async def flushed(self) -> None:
        """Nothing: the response, which takes what was put, has not begun when a history is sent."""

    @override
    def close(self, code: CloseCode, reason: str) -> None:
        """End the response after what waits, and give up on it after a while."""
        if self._is_closed:
            return
        self._is_closed = True
        logger.info("stream_closing", code=int(code), reason=reason)
        self._hub.closings[code] += 1
        if code in {CloseCode.TOO_SLOW, CloseCode.SESSION_ENDED}:
            self._waiting.clear()
        self._arrived.set()
        if self._has_begun:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._hub.limits.closing_seconds)

    def end(self) -> None:
        """Send nothing more, and leave nothing to close; for when the response has ended."""
        self._is_closed = True

    async def events(self) -> AsyncIterator[str]:
        """The response's body."""
        self._has_begun = True
        loop = asyncio.get_running_loop()
        event: str | None = f"retry: {_RETRY_MS}\n\n"
        while event is not None:
            self._blocked_since = loop.time()
            yield event
            self._blocked_since = None
            event = await self._next()

    async def _next(self) -> str | None:
        while not self._waiting:
            if self._is_closed:
                return None
            self._arrived.clear()
            try:
                async with asyncio.timeout(_BEAT_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                return ": still here\n\n"
        event = self._waiting.popleft()
        self._characters -= len(event)
        return event


class EventStreamResponse(StreamingResponse):
    """The response of a stream, which ends when its client does not even read that it is closed.

    Args:
        stream: The stream.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream) -> None:
        # A proxy that collects a response before it passes it on would collect for ever.
        super().__init__(stream.events(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._stream = stream

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._stream.deadline:
                await super().__call__(scope, receive, send)
        except TimeoutError:
            if not self._stream.deadline.expired():
                raise
            logger.info("stream_abandoned")
        finally:
            # Its turn to be closed, when the service leaves, may come later.
            self._stream.end()


async def event_stream(
    connection: HTTPConnection,
    hub: Realtime,
    channel: Annotated[
        list[str],
        Query(min_length=1, max_length=20, description="The channels to receive", examples=[["posts"]]),
    ],
    token: Annotated[str | None, Query(max_length=8_192, description="A ticket of `POST /auth/ws-ticket`")] = None,
    last_event_id: Annotated[str | None, Header(description="The id of the last event received")] = None,
) -> AsyncIterator[EventStream]:
    """The stream of this request, subscribed to its channels; forgotten when the response has ended.

    Raises:
        Unauthorized: Nobody is logged in.
        ApiError: A channel is not there, or not for this user.
        RateLimited: The user has too many connections.
        ServiceUnavailable: The server is about to leave, or the channels' store is away.
    """
    if hub.is_draining:
        raise ServiceUnavailable("The server restarts", retry_after_seconds=1)
    stream = EventStream(connection, await _identify(connection, hub, token), hub)
    if not hub.admit(stream):
        raise RateLimited("Too many connections", retry_after_seconds=_FULL_SECONDS)
    try:
        places = _places_of(last_event_id or "")
        for name in channel:
            await hub.subscribe(stream, name, places.get(hub.channels.match(name, stream.identity).name))
        yield stream
    finally:
        hub.dismiss(stream)


async def _identify(connection: HTTPConnection, hub: Hub, token: str | None) -> Identity:
    if hub.authenticator is None:
        return ANYBODY
    if token is not None:
        return await hub.authenticator.by_query(connection, token)
    identity = await hub.authenticator.by_handshake(connection)
    if identity is None:
        raise Unauthorized
    return identity


def _places_of(event_id: str) -> Mapping[str, int]:
    places = parse_qsl(event_id[:_MAX_ID_LENGTH])
    return {channel: int(place) for channel, place in places if _OFFSET.fullmatch(place)}
