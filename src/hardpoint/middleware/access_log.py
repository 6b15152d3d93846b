"""One structured line for every request and every WebSocket, without anything secret in it."""

from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint import context
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.log import EventLogger, get_logger
from hardpoint.middleware._messages import header_value

__all__ = ["AccessLogMiddleware"]


class AccessLogMiddleware:
    """Log `request` when a response ends and `websocket` when a socket closes.

    A line has method, path, status, `duration_ms`, the body's bytes, the client's address and its user agent, and the
    request id and principal from the context. Headers and query strings are not logged, because tokens travel there;
    `log_query` names the parameters that are known to be harmless. `complete` is false when the client left or the
    application broke before the end.

    Args:
        app: The application inside.
        exempt_paths: Paths that are not logged, such as health checks.
        log_query: Names of query parameters whose values may be logged.
        logger: Where to log; `hardpoint.access` by default.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exempt_paths: Collection[str] = (),
        log_query: Collection[str] = (),
        logger: EventLogger | None = None,
        clock: Clock = monotonic_clock,
    ) -> None:
        self.app = app
        self._exempt_paths = frozenset(exempt_paths)
        self._log_query = frozenset(log_query)
        self._logger = logger if logger is not None else get_logger("hardpoint.access")
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self._exempt_paths:
            await self.app(scope, receive, send)
            return
        entry: _HttpEntry | _WebSocketEntry = _HttpEntry() if scope["type"] == "http" else _WebSocketEntry()
        started = self._clock()

        async def watched_send(message: Message) -> None:
            entry.sent(message)
            # An authenticated principal is set in the application's context, which a thread or task may have copied;
            # the last message passes through the task that knows it.
            entry.principal = context.principal.get() or entry.principal
            await send(message)

        async def watched_receive() -> Message:
            message = await receive()
            entry.received(message)
            return message

        try:
            await self.app(scope, watched_receive, watched_send)
        finally:
            self._write(scope, entry, self._clock() - started)

    def _write(self, scope: Scope, entry: "_HttpEntry | _WebSocketEntry", seconds: float) -> None:
        fields: dict[str, Any] = {
            "method": scope.get("method", "GET"),
            "path": scope["path"],
            **entry.fields(),
            "duration_ms": round(seconds * 1000, 2),
            "client": scope["client"][0] if scope.get("client") else None,
        }
        if (user_agent := header_value(scope, b"user-agent")) is not None:
            fields["user_agent"] = user_agent[:256].decode("latin-1")
        if self._log_query and scope.get("query_string"):
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=None)
            fields["query"] = {name: value for name, value in pairs if name in self._log_query}
        if entry.principal is not None:
            fields["principal"] = entry.principal
        self._logger.info(entry.event, **fields)


class _HttpEntry:
    event = "request"

    def __init__(self) -> None:
        self.principal: str | None = None
        self._status: int | None = None
        self._bytes = 0
        self._complete = False

    def sent(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def received(self, message: Message) -> None:
        """Nothing that a client sends over HTTP changes the line."""

    def fields(self) -> dict[str, Any]:
        return {"status": self._status, "bytes": self._bytes, "complete": self._complete}


class _WebSocketEntry:
    event = "websocket"

    def __init__(self) -> None:
        self.principal: str | None = None
        self._accepted = False
        self._status: int | None = None
        self._code: int | None = None

    def sent(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] == "websocket.http.response.start":
            self._status = message["status"]
        elif message["type"] == "websocket.close" and self._code is None:
            self._code = message.get("code", 1000)

    def received(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect" and self._code is None:
            self._code = message.get("code", 1005)

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"accepted": self._accepted, "close_code": self._code}
        if self._status is not None:
            fields["status"] = self._status
        return fields
