"""One structured line for every request and every WebSocket, without anything secret in it."""

from collections.abc import Collection
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message

from hardpoint import context
from hardpoint.asgi import Exchange, Part, WebSocketExchange
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.log import EventLogger, get_logger
from hardpoint.log.safe import shortened
from hardpoint.texts import texts

__all__ = ["AccessLogMiddleware"]


class AccessLogMiddleware(Part):
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

    kinds = frozenset({"http", "websocket"})

    def __init__(
        self,
        app: ASGIApp,
        *,
        exempt_paths: Collection[str] = (),
        log_query: Collection[str] = (),
        logger: EventLogger | None = None,
        clock: Clock = monotonic_clock,
    ) -> None:
        super().__init__(app)
        self._exempt_paths = texts("exempt_paths", exempt_paths)
        self._log_query = texts("log_query", log_query)
        self._logger = logger if logger is not None else get_logger("hardpoint.access")
        self._clock = clock

    def on_request(self, exchange: Exchange) -> None:
        """Note when the request began."""
        if exchange.scope["path"] not in self._exempt_paths:
            exchange.notes[self] = self._clock(), None

    def on_response(self, exchange: Exchange, message: Message) -> None:  # noqa: ARG002
        """Note who acts.

        Whoever authenticates sets it in the application's context, which a thread or a task may have copied; what
        starts the response comes from where it is known.
        """
        if (noted := exchange.notes.get(self)) is not None and (principal := context.principal.get()) is not None:
            exchange.notes[self] = noted[0], principal

    def on_end(self, exchange: Exchange) -> None:
        """Write the line."""
        if (noted := exchange.notes.get(self)) is None:
            return
        scope = exchange.scope
        client = scope.get("client")
        # The line may be made later: it gets what it needs, and not the exchange, which would keep the whole request.
        fields = partial(
            _fields,
            scope.get("method", "GET"),
            scope["path"],
            _outcome(exchange),
            self._clock() - noted[0],
            client[0] if client else None,
            exchange.headers.get(b"user-agent"),
            context.principal.get() or noted[1],
        )
        event = "request" if scope["type"] == "http" else "websocket"
        if self._log_query and scope.get("query_string"):
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=None)
            query = {name: value for name, value in pairs if name in self._log_query}
            self._logger.info(event, **fields(), query=query)
        else:
            self._logger.deferred(event, fields)


def _outcome(exchange: Exchange) -> dict[str, Any]:
    if not isinstance(exchange, WebSocketExchange):
        return {"status": exchange.status, "bytes": exchange.body_bytes, "complete": exchange.complete}
    refused = {} if exchange.status is None else {"status": exchange.status}
    return {"accepted": exchange.accepted, "close_code": exchange.close_code, **refused}


def _fields(
    method: str,
    path: str,
    outcome: dict[str, Any],
    seconds: float,
    address: str | None,
    user_agent: bytes | None,
    principal: str | None,
) -> dict[str, Any]:
    fields = {
        "method": shortened(method),
        "path": shortened(path),
        **outcome,
        "duration_ms": round(seconds * 1_000, 2),
        "client": None if address is None else shortened(address),
    }
    if user_agent is not None:
        fields["user_agent"] = user_agent[:256].decode("latin-1")
    if principal is not None:
        fields["principal"] = principal
    return fields
