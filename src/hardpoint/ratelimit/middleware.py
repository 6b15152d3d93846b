"""A limit on the whole service."""

from collections.abc import Callable, Collection
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.errors import RateLimited, error_response
from hardpoint.log import get_logger
from hardpoint.ratelimit.headers import limit_headers
from hardpoint.ratelimit.keys import address_key
from hardpoint.ratelimit.rate import Charge, Limiter, Rate, whole_seconds

__all__ = ["RateLimitMiddleware"]

logger = get_logger("hardpoint.ratelimit")

_PREFLIGHT_HEADER: Final = b"access-control-request-method"


class RateLimitMiddleware:
    """Answer 429 (RFC 6585, section 4) to a client over `rate`, before its body is read and before any work for it.

    Every limited response says what is left. Preflights and `exempt_paths` are never charged; WebSockets pass.

    Args:
        app: The application inside.
        rate: The rate for each key.
        limiter: Where the buckets are; by default what the lifespan's state holds as `limiter`. Without either, every
            request passes.
        key: Who is limited together; the client's address by default.
        exempt_paths: Paths that are not limited, such as health checks.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rate: Rate,
        limiter: Limiter | None = None,
        key: Callable[[Scope], str] = address_key,
        exempt_paths: Collection[str] = (),
    ) -> None:
        self.app = app
        self._rate = rate
        self._limiter = limiter
        self._key = key
        self._exempt_paths = frozenset(exempt_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limiter = self._limiter_for(scope)
        if limiter is None:
            await self.app(scope, receive, send)
            return
        key = self._key(scope)
        decision = await limiter.hit(Charge(self._rate, key))
        headers = limit_headers(decision)
        if not decision.allowed:
            logger.info("rate_limited", path=scope["path"], policy=self._rate.name)
            retry = whole_seconds(decision.retry_after_seconds)
            error = RateLimited(retry_after_seconds=retry, headers=headers)
            await error_response(scope, error)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response_headers = MutableHeaders(raw=list(message.get("headers", ())))
                # What a limit further in has said is tighter.
                for name, value in headers.items():
                    response_headers.setdefault(name, value)
                message["headers"] = response_headers.raw
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _limiter_for(self, scope: Scope) -> Limiter | None:
        if scope["type"] != "http" or scope["path"] in self._exempt_paths:
            return None
        if scope["method"] == "OPTIONS" and any(name == _PREFLIGHT_HEADER for name, _ in scope["headers"]):
            return None
        if self._limiter is not None:
            return self._limiter
        limiter: Limiter | None = scope.get("state", {}).get("limiter")
        return limiter
