"""A limit as it is declared: how much, and for whom; a dependency of routes, routers and WebSockets."""

from collections.abc import Sequence
from inspect import Parameter, Signature, iscoroutinefunction, signature
from typing import Annotated, Any, cast

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.responses import Response

from hardpoint.errors import RateLimited
from hardpoint.log import get_logger
from hardpoint.ratelimit.headers import limit_headers
from hardpoint.ratelimit.keys import Key, by_address
from hardpoint.ratelimit.rate import Charge, Decision, Limiter, Rate, whole_seconds

__all__ = ["RateLimit", "RateLimits", "get_limiter", "refusal"]

logger = get_logger("hardpoint.ratelimit")


async def get_limiter(connection: HTTPConnection) -> Limiter:
    """The limiter that the lifespan's state holds under the name `limiter`."""
    limiter: Limiter = connection.state.limiter
    return limiter


class RateLimit:
    """So much for each key.

        @router.post("/reports", dependencies=[Depends(RateLimit("5/minute", key=by_principal))])

    As a dependency it answers 429 (RFC 6585, section 4) before the route's body is used, and says in the response's
    headers what is left. `RateLimits(a, b)` checks several together, all or nothing. On the messages of a WebSocket, or
    wherever else: `await limit.check(connection)`. For a whole service give it to `RateLimitMiddleware`.

    Args:
        rate: `N/second`, `N/minute`, `N/hour`, `N/day`, or a `Rate`.
        burst: How many at once after a pause; the whole limit by default.
        key: Who is limited together: a function of the `HTTPConnection`, or any other dependency, that gives a text.
        name: What the `RateLimit` header calls the policy. Limits with the same name, rate and key share their buckets.
        cost: How much one request costs.

    Raises:
        ValueError: The rate cannot be read, or the cost is more than its burst or less than 1.
    """

    def __init__(
        self, rate: str | Rate, *, burst: int = 0, key: Key = by_address, name: str = "default", cost: int = 1
    ) -> None:
        self.rate = rate if isinstance(rate, Rate) else Rate.parse(rate, burst=burst, name=name)
        if not 1 <= cost <= self.rate.burst:
            raise ValueError("cost must be at least 1 and at most the burst, or nothing would ever be allowed")
        self.key = key
        self.cost = cost
        self._key_is_async = iscoroutinefunction(key)
        self._together = RateLimits(self)
        # FastAPI reads what a dependency needs from its signature.
        self.__signature__ = self._together.__signature__

    def __repr__(self) -> str:
        return f"RateLimit({self.rate.limit}/{self.rate.period_seconds:g}s, key={getattr(self.key, '__name__', '?')})"

    def charge(self, key: str) -> Charge:
        """What one request of `key` is charged."""
        return Charge(self.rate, key, self.cost)

    async def key_of(self, connection: HTTPConnection) -> str:
        """The key of `connection`, for a key that needs nothing else."""
        found: Any = self.key(connection)
        return cast("str", await found if self._key_is_async else found)

    @property
    def needs_connection_only(self) -> bool:
        """Whether the key can be known without resolving dependencies, as a middleware must."""
        return len(signature(self.key).parameters) == 1

    async def __call__(self, connection: HTTPConnection, response: Response, limiter: Limiter, **keys: str) -> None:
        await self._together(connection, response, limiter, **keys)

    async def check(
        self, connection: HTTPConnection, *, limiter: Limiter | None = None, key: str | None = None
    ) -> Decision:
        """Charge `connection` now.

        Args:
            connection: A request or a WebSocket.
            limiter: Where the buckets are; by default what the state holds as `limiter`.
            key: Whom to charge; by default what the limit's key says.

        Raises:
            RateLimited: Nothing is left.
        """
        limiter = limiter or await get_limiter(connection)
        decision = await limiter.hit(self.charge(key if key is not None else await self.key_of(connection)))
        if not decision.allowed:
            raise refusal(connection, decision)
        return decision


class RateLimits:
    """Several limits as one dependency: all are charged when all allow it, and none otherwise.

    Args:
        *limits: The limits; one or more.
    """

    def __init__(self, *limits: RateLimit) -> None:
        if not limits:
            raise ValueError("Name at least one limit")
        self._limits: Sequence[RateLimit] = limits
        keys = [
            Parameter(f"key_{place}", Parameter.KEYWORD_ONLY, annotation=Annotated[str, Depends(limit.key)])
            for place, limit in enumerate(limits)
        ]
        named = {
            "connection": HTTPConnection,
            "response": Response,
            "limiter": Annotated[Limiter, Depends(get_limiter)],
        }
        self.__signature__ = Signature(
            [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for name, kind in named.items()] + keys
        )

    async def __call__(self, connection: HTTPConnection, response: Response, limiter: Limiter, **keys: str) -> None:
        charges = [limit.charge(keys[f"key_{place}"]) for place, limit in enumerate(self._limits)]
        decision = await limiter.hit(*charges)
        if not decision.allowed:
            raise refusal(connection, decision)
        response.headers.update(limit_headers(decision))


def refusal(connection: HTTPConnection, decision: Decision) -> RateLimited:
    """The 429 for a decision that refuses; logged."""
    logger.info("rate_limited", path=connection.scope["path"], policy=decision.charge.rate.name)
    retry = whole_seconds(decision.retry_after_seconds)
    return RateLimited(retry_after_seconds=retry, headers=limit_headers(decision))
