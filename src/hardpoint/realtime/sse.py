"""Server-sent events: the same channels, over plain HTTP (WHATWG HTML, section 9.2)."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Header, Query
from starlette.requests import HTTPConnection
from typing_extensions import override

from hardpoint.errors import RateLimited, ServiceUnavailable, Unauthorized
from hardpoint.realtime.hub import Hub, Realtime
from hardpoint.realtime.identity import ANYBODY, Identity
from hardpoint.realtime.peer import CloseCode, Peer

__all__ = ["EventStream", "event_stream"]

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
        self._arrived = asyncio.Event()
        self._has_begun = False
        self._is_closed = False

    @override
    def put(self, channel: str, offset: int, text: str) -> None:
        """Send the text of a frame as an event."""
        if self._is_closed:
            return
        # What was missed is put before the response begins, and is bounded by the history.
        if self._has_begun and len(self._waiting) >= self._hub.limits.max_waiting_messages:
            self.overflowed()
            return
        self._places[channel] = offset
        self._waiting.append(f"id: {urlencode(self._places)}\ndata: {text}\n\n")
        self._arrived.set()

    @override
    async def flushed(self) -> None:
        """Nothing: the response, which takes what was put, has not begun when a history is sent."""

    @override
    def close(self, code: CloseCode, reason: str) -> None:
        """End the response after what waits."""
        if not self._is_closed:
            self._hub.closings[code] += 1
        self._is_closed = True
        self._arrived.set()

    async def events(self) -> AsyncIterator[str]:
        """The response's body."""
        self._has_begun = True
        yield f"retry: {_RETRY_MS}\n\n"
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._is_closed:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(_BEAT_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                yield ": still here\n\n"


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
