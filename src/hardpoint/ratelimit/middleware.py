"""Limits on the whole service."""

from collections.abc import Collection, Coroutine
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.arguments import check_argument
from hardpoint.asgi import Exchange, Part
from hardpoint.errors import ApiError, ServiceUnavailable, error_response
from hardpoint.ratelimit.headers import SCOPE_KEY, Told
from hardpoint.ratelimit.keys import needs_route
from hardpoint.ratelimit.limit import RateLimit, limiter_of, refusal
from hardpoint.ratelimit.memory import MemoryLimiter
from hardpoint.ratelimit.rate import Charge, Decision, Limiter
from hardpoint.texts import texts

__all__ = ["RateLimitMiddleware"]

# What makes an OPTIONS a preflight (Fetch, section 3.3.1).
_PREFLIGHT_HEADERS: Final = frozenset({b"origin", b"access-control-request-method"})
_TRY_AGAIN_LATER: Final = 1013


class RateLimitMiddleware(Part):
    """Answer 429 (RFC 6585, section 4) to a client over a limit, before its body is read and before any work for it.

    A WebSocket is charged once, when it is opened. Preflights and `exempt_paths` are never charged. Every other HTTP
    response says what is left, of the limits here and of those that are dependencies of the route: the tightest.
    Without `limits` it does only that.

    Args:
        app: The application inside.
        limits: Charged together: all when all allow it, and none otherwise. Their keys may need the connection alone;
            those that need the user or the route are dependencies.
        limiter: Where the buckets are; by default what the lifespan's state holds as `limiter`, or else one in memory.
        exempt_paths: Paths that are not limited, such as health checks, without the server's root path.

    Raises:
        ValueError: The limits are an empty list, or a key needs more than the connection.
        TypeError: They are no list of `RateLimit`, or `limiter` is no limiter.
    """

    kinds = frozenset({"http", "websocket"})

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Collection[RateLimit] | None = None,
        limiter: Limiter | None = None,
        exempt_paths: Collection[str] = (),
    ) -> None:
        if limits is not None and not limits:
            raise ValueError("Name at least one limit, or leave out the list")
        given: Any = limits
        if isinstance(given, str | RateLimit):
            raise TypeError("limits takes a list; write limits=[RateLimit('5/minute')]")
        check_argument("limiter", limiter, "hit", "MemoryLimiter(), or what open_valkey_limiter opens")
        limit: Any
        for limit in limits or ():
            if not isinstance(limit, RateLimit):
                raise TypeError(f"{limit!r} is no limit; write RateLimit({limit!r})")
            if not limit.needs_connection_only or needs_route(limit.key):
                raise ValueError(f"{limit!r}: a middleware needs a key that needs the connection alone")
        super().__init__(app)
        self._limits = tuple(limits or ())
        self._only = self._limits[0] if len(self._limits) == 1 else None
        self._limiter = limiter
        self._exempt_paths = texts("exempt_paths", exempt_paths)

    def on_request(self, exchange: Exchange) -> ASGIApp | Coroutine[Any, Any, ASGIApp | None] | None:
        """Charge the request: at once where the buckets are in this process, and otherwise in a coroutine."""
        scope = exchange.scope
        # The usual request is none of these, and pays for no call.
        if (
            scope["path"] in self._exempt_paths
            or (scope.get("method") == "OPTIONS" and exchange.headers.keys() >= _PREFLIGHT_HEADERS)
            or (scope.get("root_path") and self._is_exempt_below_root(scope))
        ):
            return None
        if not self._limits:
            return self._conclude(exchange, None)
        limiter = self._limiter if self._limiter is not None else limiter_of(scope)
        charge = self._only.charge_of_scope(scope) if self._only is not None else None
        if charge is not None and type(limiter) is MemoryLimiter:
            return self._conclude(exchange, limiter.decide(charge))
        return self._ask(exchange, limiter, charge)

    async def _ask(self, exchange: Exchange, limiter: Limiter, charge: Charge | None) -> ASGIApp | None:
        scope = exchange.scope
        try:
            decision = await limiter.hit(*([charge] if charge is not None else await self._charges(scope)))
        except ServiceUnavailable as unavailable:
            return _answer(scope, unavailable)
        return self._conclude(exchange, decision)

    def _conclude(self, exchange: Exchange, decision: Decision | None) -> ASGIApp | None:
        scope = exchange.scope
        if decision is not None and not decision.allowed:
            return _answer(scope, refusal(scope, decision))
        scope[SCOPE_KEY] = exchange.notes[self] = Told(decision, None)
        return None

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Say what is left."""
        told: Told | None = exchange.notes.get(self)
        if told is not None and message["type"] == "http.response.start":
            told.add_headers(message)

    async def _charges(self, scope: Scope) -> list[Charge]:
        connection = Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
        return [await limit.charge_of(connection) for limit in self._limits]

    def _is_exempt_below_root(self, scope: Scope) -> bool:
        path: str = scope["path"]
        root: str = scope["root_path"]
        return path.startswith(root) and path.removeprefix(root) in self._exempt_paths


def _answer(scope: Scope, error: ApiError) -> ASGIApp:
    # Starlette's Response speaks the extension that refuses a WebSocket with an HTTP response.
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        return error_response(scope, error)
    return _close


async def _close(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application.
    await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
