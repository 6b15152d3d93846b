"""Limits on the whole service."""

from collections.abc import Collection
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Scope

from hardpoint.asgi import Exchange, Part
from hardpoint.errors import error_response
from hardpoint.ratelimit.headers import limit_headers
from hardpoint.ratelimit.limit import RateLimit, refusal
from hardpoint.ratelimit.rate import Decision, Limiter

__all__ = ["RateLimitMiddleware"]

_PREFLIGHT_HEADER: Final = b"access-control-request-method"


class RateLimitMiddleware(Part):
    """Answer 429 (RFC 6585, section 4) to a client over a limit, before its body is read and before any work for it.

    Every limited response says what is left. Preflights and `exempt_paths` are never charged; WebSockets pass.

    Args:
        app: The application inside.
        limits: One or more, charged together: all when all allow it, and none otherwise. Their keys may need the
            connection alone; those that need the user or the route are dependencies.
        limiter: Where the buckets are; by default what the lifespan's state holds as `limiter`. Without either, every
            request passes.
        exempt_paths: Paths that are not limited, such as health checks.

    Raises:
        ValueError: There is no limit, or a key needs more than the connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Collection[RateLimit],
        limiter: Limiter | None = None,
        exempt_paths: Collection[str] = (),
    ) -> None:
        if not limits or not all(limit.needs_connection_only for limit in limits):
            raise ValueError("A middleware needs at least one limit, each with a key that needs the connection alone")
        super().__init__(app)
        self._limits = tuple(limits)
        self._limiter = limiter
        self._exempt_paths = frozenset(exempt_paths)

    async def on_request(self, exchange: Exchange) -> ASGIApp | None:
        """Charge the request."""
        scope = exchange.scope
        limiter = self._limiter_for(scope)
        if limiter is None:
            return None
        connection = HTTPConnection(scope)
        decision = await limiter.hit(*[limit.charge(await limit.key_of(connection)) for limit in self._limits])
        if not decision.allowed:
            return error_response(scope, refusal(connection, decision))

        exchange.notes[self] = decision
        return None

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Say what is left; what a limit further in has said is tighter, and stays."""
        decision: Decision | None = exchange.notes.get(self)
        if decision is not None and not any(name == b"ratelimit" for name, _ in message["headers"]):
            own = limit_headers(decision).items()
            message["headers"] += [(name.encode(), value.encode()) for name, value in own]

    def _limiter_for(self, scope: Scope) -> Limiter | None:
        if scope["path"] in self._exempt_paths:
            return None
        if scope["method"] == "OPTIONS" and any(name == _PREFLIGHT_HEADER for name, _ in scope["headers"]):
            return None
        if self._limiter is not None:
            return self._limiter
        limiter: Limiter | None = scope.get("state", {}).get("limiter")
        return limiter
