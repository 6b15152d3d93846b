"""A WebSocket, from its handshake to its end."""

import asyncio

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect
from typing_extensions import override

from hardpoint.clock import utc_datetime
from hardpoint.errors import ApiError, Forbidden, InvalidToken, ServiceUnavailable
from hardpoint.errors.rendering import code_for_status
from hardpoint.log import get_logger
from hardpoint.ratelimit import Bucket
from hardpoint.realtime.frames import WIRE, Frames
from hardpoint.realtime.hub import Hub
from hardpoint.realtime.identity import ANYBODY, Identity
from hardpoint.realtime.messages import (
    Authenticate,
    Authenticated,
    ClientMessage,
    ErrorMessage,
    InvalidMessage,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
    encode,
    parse,
)
from hardpoint.realtime.outbox import Outbox
from hardpoint.realtime.peer import CloseCode, Peer

__all__ = ["serve_socket"]

logger = get_logger("hardpoint.realtime")


async def serve_socket(websocket: WebSocket, hub: Hub) -> None:
    """Serve one socket until it ends.

    A foreign `Origin` is refused with HTTP 403 before the handshake ends (RFC 6455, section 10.2). Everything else is
    said after it, by a close code, which is all that a browser's script gets to see.

    Raises:
        Forbidden: The `Origin` is not allowed.
        ServiceUnavailable: The server is about to leave, or cannot tell who connects.
    """
    if hub.is_draining:
        raise ServiceUnavailable("The server restarts", retry_after_seconds=1)
    _check_origin(websocket, hub)
    try:
        identity = await _accept(websocket, hub)
    except WebSocketDisconnect:
        # Anybody can leave before they are told who they are; that is no fault of the service's.
        logger.info("socket_abandoned")
        return
    if identity is not None:
        await _Socket(websocket, hub, identity).run()


async def _accept(websocket: WebSocket, hub: Hub) -> Identity | None:
    """Who it is; otherwise the socket is closed."""
    try:
        identity = await _by_handshake(websocket, hub)
    except (Forbidden, ServiceUnavailable):
        raise
    except ApiError:
        await websocket.accept()
        await _refuse(websocket, hub)
        return None
    await websocket.accept()
    return identity or await _by_first_message(websocket, hub)


def _check_origin(websocket: WebSocket, hub: Hub) -> None:
    origins = websocket.headers.getlist("origin")
    # What is no browser sends none, and no cookie that it does not mean to send.
    if origins and (len(origins) > 1 or origins[0] not in hub.allowed_origins):
        logger.warning("origin_refused", path=websocket.url.path)
        raise Forbidden("This origin is not allowed")


async def _by_handshake(websocket: WebSocket, hub: Hub) -> Identity | None:
    if hub.authenticator is None:
        return ANYBODY
    tokens = websocket.query_params.getlist("token")
    if len(tokens) > 1:
        # Which of them counts is nothing to guess.
        raise InvalidToken
    if tokens:
        return await hub.authenticator.by_query(websocket, tokens[0])
    return await hub.authenticator.by_handshake(websocket)


async def _by_first_message(websocket: WebSocket, hub: Hub) -> Identity | None:
    """Who the first message says that it is; otherwise the socket is closed."""
    try:
        async with asyncio.timeout(hub.limits.authentication_seconds):
            message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        sent = _parse(message, hub)
        if isinstance(sent, Authenticate):
            return await _by_token(websocket, hub, sent.token)
    except _TooBig:
        await websocket.close(CloseCode.TOO_BIG, "The frame is too large")
        return None
    except (ApiError, TimeoutError):
        pass
    await _refuse(websocket, hub)
    return None


async def _by_token(websocket: WebSocket, hub: Hub, token: str) -> Identity | None:
    assert hub.authenticator is not None  # noqa: S101 - narrows the type; without one nobody is asked.
    try:
        # The client has said it in time; how long it takes to find out is not its fault.
        async with asyncio.timeout(hub.limits.authentication_seconds):
            identity = await hub.authenticator.by_token(websocket, token)
    except (ServiceUnavailable, TimeoutError):
        # Not 4001, for which a client throws a good token away.
        logger.warning("socket_not_authenticated", reason="not available")
        hub.closings[CloseCode.RESTART] += 1
        await websocket.close(CloseCode.RESTART, "Not available at the moment")
        return None
    await websocket.send_text(_authenticated(identity))
    return identity


async def _refuse(websocket: WebSocket, hub: Hub) -> None:
    logger.info("socket_not_authenticated")
    hub.closings[CloseCode.NOT_AUTHENTICATED] += 1
    await websocket.close(CloseCode.NOT_AUTHENTICATED, "Not authenticated")


class _TooBig(Exception):
    """A frame larger than allowed."""


def _parse(message: Message, hub: Hub) -> ClientMessage:
    text = message.get("text")
    if text is None:
        raise InvalidMessage
    most = hub.limits.max_frame_bytes
    # A character has one to four bytes: most frames need not be encoded to know.
    if len(text) > most or (len(text) * 4 > most and len(text.encode()) > most):
        raise _TooBig
    return parse(text)


def _authenticated(identity: Identity) -> str:
    expires_at = None if identity.expires_at is None else utc_datetime(identity.expires_at)
    return encode(Authenticated(user_id=identity.user_id, expires_at=expires_at))


class _Socket(Peer):
    """A socket whose user is known."""

    __slots__ = ("_bucket", "_deadline", "_hub", "_outbox", "_websocket")

    def __init__(self, websocket: WebSocket, hub: Hub, identity: Identity) -> None:
        super().__init__(websocket, identity)
        self._websocket = websocket
        self._hub = hub
        self._outbox = Outbox(
            # `WebSocket.send` checks the order of messages, which is the outbox's own: a tenth of a delivery's cost.
            websocket._send,  # type: ignore[arg-type] # noqa: SLF001 - see above.
            write=websocket.scope.get("extensions", {}).get(WIRE, {}).get("write"),
            max_messages=hub.limits.max_waiting_messages,
            max_characters=hub.limits.max_waiting_characters,
            on_overflow=self.overflowed,
            on_loss=self._end_now,
        )
        self._bucket = Bucket(hub.message_rate)
        self._deadline = asyncio.timeout(None)

    async def run(self) -> None:
        """Answer the client until the socket ends, here or there."""
        try:
            async with self._deadline:
                if not self._hub.admit(self):
                    self.close(CloseCode.TOO_MANY, "Too many connections")
                while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
                    if self._outbox.is_open:
                        await self._handle(message)
        except TimeoutError:
            if not self._deadline.expired():
                raise
            # The client did not even read the close frame, or the server found that it has left.
            logger.info("socket_abandoned")
        finally:
            self._hub.dismiss(self)
            await self._outbox.end()

    async def _handle(self, message: Message) -> None:
        if not self._bucket.take():
            self.close(CloseCode.TOO_MANY, "Too many messages")
            return
        try:
            await self._answer(_parse(message, self._hub))
        except _TooBig:
            self.close(CloseCode.TOO_BIG, "The frame is too large")
        except HTTPException as error:
            code = error.code if isinstance(error, ApiError) else code_for_status(error.status_code)
            self._send(ErrorMessage(code=code, detail=str(error.detail)))
        except Exception:
            # A guard's fault. What it was is for the log alone.
            logger.exception("socket_message_failed")
            self._send(ErrorMessage(code=code_for_status(500), detail="Internal server error"))

    async def _answer(self, message: ClientMessage) -> None:
        match message:
            case Subscribe():
                await self._hub.subscribe(self, message.channel, message.since)
            case Unsubscribe():
                channel = self._hub.channels.match(message.channel, self.identity).name
                self._hub.unsubscribe(self, channel)
                self._send(Unsubscribed(channel=channel))
            case Ping():
                self._send(Pong())
            case Authenticate():
                await self._authenticate_again(message.token)

    async def _authenticate_again(self, token: str) -> None:
        if self._hub.authenticator is None:
            raise InvalidMessage("Nobody authenticates here")
        identity = await self._hub.authenticator.by_token(self._websocket, token)
        if identity.user_id != self.identity.user_id:
            raise Forbidden("The token is another user's")
        await self._hub.change_identity(self, identity)
        self._outbox.put(Frames.one(_authenticated(identity)))

    def _send(self, message: BaseModel) -> None:
        self._outbox.put(Frames.one(encode(message)))

    @property
    @override
    def blocked_since(self) -> float | None:
        """Since when the server waits for the client to read."""
        return self._outbox.blocked_since

    @override
    def put(self, channel: str, frames: Frames) -> None:
        """Send frames."""
        self._outbox.put(frames)

    @override
    async def flushed(self) -> None:
        """Wait until what was put is sent."""
        await self._outbox.flushed()

    @override
    def close(self, code: CloseCode, reason: str) -> None:
        """Send a close frame as soon as the client reads, and give up on it after a while."""
        if not self._outbox.is_open:
            return
        logger.info("socket_closing", code=int(code), reason=reason)
        self._hub.closings[code] += 1
        self._end_in(self._hub.limits.closing_seconds)
        # A slow reader need not have the rest: it comes back for it. Who was logged out must not have it.
        self._outbox.close(code, reason, at_once=code in {CloseCode.TOO_SLOW, CloseCode.SESSION_ENDED})

    def _end_now(self) -> None:
        self._end_in(0)

    def _end_in(self, seconds: float) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + seconds)
