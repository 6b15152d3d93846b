"""A limit as it is declared: how much, and for whom; a dependency of routes, routers and WebSockets."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from inspect import Parameter, Signature
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from hardpoint.arguments import check_argument
from hardpoint.errors import RateLimited
from hardpoint.log import get_logger
from hardpoint.ratelimit.headers import limit_headers, tell
from hardpoint.ratelimit.keys import AddressKey, Key, by_address, host_of, is_async, needs_connection_only
from hardpoint.ratelimit.memory import MemoryLimiter
from hardpoint.ratelimit.rate import MAX_PLAIN_KEY, Charge, Decision, Limiter, Rate, is_whole

__all__ = ["RateLimit", "RateLimits", "limiter_of", "refusal"]

logger = get_logger("hardpoint.ratelimit")

# Not `limiter`, where slowapi keeps its own.
_REMEMBERED: Final = 4_096
_LIMITER: Final = "hardpoint_limiter"


def limiter_of(scope: Scope) -> Limiter:
    """The limiter that the lifespan's state holds under the name `limiter`.

    When it holds none, or no lifespan has run, the application gets one in memory: a limit always limits.

    Raises:
        RuntimeError: There is no application either.
    """
    state = scope.get("state")
    limiter: Limiter | None = state.get("limiter") if state else None
    return limiter if limiter is not None else _limiter_of_application(scope)


def _limiter_of_application(scope: Scope) -> Limiter:
    if "app" not in scope:
        raise RuntimeError('Limits need a limiter: the lifespan\'s state must have one, {"limiter": MemoryLimiter()}')
    state = scope["app"].state
    if not hasattr(state, _LIMITER):
        setattr(state, _LIMITER, MemoryLimiter())
        logger.info("limits_in_memory")
    limiter: Limiter = getattr(state, _LIMITER)
    return limiter


class RateLimit:
    """So much for each key.

        @router.post("/reports", dependencies=[Depends(RateLimit("5/minute", key=by_principal))])

    As a dependency it answers 429 (RFC 6585, section 4) before the route's body is used, and says in the response's
    headers what is left. `RateLimits(a, b)` checks several together, all or nothing. On the messages of a WebSocket, or
    wherever else: `await limit.check(connection)`. For a whole service give it to `RateLimitMiddleware`.

    Args:
        rate: `N/second`, `N/minute`, `N/hour`, `N/day`, or a `Rate`.
        burst: How many at once after a pause; by default that of a `Rate`, and otherwise the whole limit.
        key: Who is limited together: a function of the `HTTPConnection`, or any other dependency, that gives a text.
            The former is called on the event loop, so it must not block.
        name: What the `RateLimit` header calls the policy; by default that of a `Rate`, and otherwise `default`. Limits
            with the same name, rate and key share their buckets.
        cost: How much one request costs.
        needs_store: Answer 503 while the limiter's store is away, instead of counting in memory meanwhile: for where
            guessing must gain nothing from an outage.

    Raises:
        ValueError: The rate cannot be read, or the cost is more than its burst or less than 1.
        TypeError: The rate is neither a text nor a `Rate`.
    """

    def __init__(
        self,
        rate: str | Rate,
        *,
        burst: int | None = None,
        key: Key = by_address,
        name: str = "",
        cost: int = 1,
        needs_store: bool = False,
    ) -> None:
        if isinstance(rate, str):
            rate = Rate.parse(rate)
        check_argument("rate", rate, Rate, "a rate, such as '10/minute'")
        self.rate = replace(rate, burst=rate.burst if burst is None else burst, name=name or rate.name)
        if not is_whole(cost) or not 1 <= cost <= self.rate.burst:
            raise ValueError("cost must be at least 1 and at most the burst, or nothing would ever be allowed")
        self.key = key
        self.cost = cost
        self.needs_store = needs_store
        self.needs_connection_only = needs_connection_only(key)
        """Whether the key can be known without resolving dependencies, as a middleware must."""
        self._key_is_async = is_async(key)
        # To make a charge takes as long as to decide on it, and to read an address four times as long.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._make_charge)
        self._charge_of_host: Callable[[str], Charge] | None = None
        if isinstance(key, AddressKey):
            self._charge_of_host = lru_cache(maxsize=_REMEMBERED)(lambda host: self._make_charge(key.of_host(host)))
        # FastAPI reads what a dependency needs from its signature.
        self.__signature__ = RateLimits(self).__signature__

    def __repr__(self) -> str:
        key = getattr(self.key, "__name__", repr(self.key))
        return f"RateLimit({self.rate.limit}/{self.rate.period_seconds:g}s, key={key})"

    def charge(self, key: str) -> Charge:
        """What one request of `key` is charged.

        Raises:
            TypeError: It is no text.
        """
        if not isinstance(key, str):
            raise TypeError(f"{self!r}: the key must be a text, not {type(key).__name__}")
        return self._remembered(key) if len(key) <= MAX_PLAIN_KEY else self._make_charge(key)

    async def charge_of(self, connection: HTTPConnection) -> Charge:
        """What `connection` is charged, for a key that needs nothing else.

        Raises:
            TypeError: The key needs more than the connection, or gives no text.
        """
        if not self.needs_connection_only:
            raise TypeError(f"{self!r}: the key is a dependency; outside of one, say whom to charge")
        charge = self.charge_of_scope(connection.scope)
        if charge is not None:
            return charge
        found: Any = self.key(connection)
        return self.charge(await found if self._key_is_async else found)

    def charge_of_scope(self, scope: Scope) -> Charge | None:
        """What the client of `scope` is charged, without a connection and a coroutine, if the key is its address."""
        return None if self._charge_of_host is None else self._charge_of_host(host_of(scope))

    def _make_charge(self, key: str) -> Charge:
        return Charge(self.rate, key, self.cost, self.needs_store)

    async def __call__(self, connection: HTTPConnection, response: Response, **keys: str) -> None:
        scope = connection.scope
        # The work of `RateLimits`, for the usual case: one limit.
        charge = self.charge_of_scope(scope)
        if charge is None:
            charge = self.charge(keys["key_0"]) if keys else await self.charge_of(connection)
        decision = await limiter_of(scope).hit(charge)
        if not decision.allowed:
            raise refusal(scope, decision)
        tell(scope, response, decision)

    async def check(
        self, connection: HTTPConnection, *, limiter: Limiter | None = None, key: str | None = None
    ) -> Decision:
        """Charge `connection` now.

        Args:
            connection: A request or a WebSocket.
            limiter: Where the buckets are; by default what the state holds as `limiter`.
            key: Whom to charge; by default what the limit's key says.

        Raises:
            RateLimited: Nothing is left. An accepted WebSocket, which it leaves, is closed with 1008 where
                `install_error_handlers` is; catch it for a code of your own.
            ServiceUnavailable: The store is away, and the limit needs it.
            TypeError: No `key` was given, and the limit's needs more than the connection.
        """
        charge = self.charge(key) if key is not None else await self.charge_of(connection)
        # Not `or`: an empty `MemoryLimiter` is false.
        limiter = limiter if limiter is not None else limiter_of(connection.scope)
        decision = await limiter.hit(charge)
        if not decision.allowed:
            raise refusal(connection.scope, decision)
        return decision


class RateLimits:
    """Several limits as one dependency: all are charged when all allow it, and none otherwise.

    Args:
        *limits: The limits; one or more.

    Raises:
        ValueError: There is none.
        TypeError: One of them is no `RateLimit`.
    """

    def __init__(self, *limits: RateLimit) -> None:
        if not limits:
            raise ValueError("Name at least one limit")
        limit: Any
        for limit in limits:
            if not isinstance(limit, RateLimit):
                raise TypeError(f"{limit!r} is no limit; write RateLimits(RateLimit('5/minute'), ...)")
        self._limits = [(f"key_{place}", limit) for place, limit in enumerate(limits)]
        parameters = [
            Parameter("connection", Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection),
            Parameter("response", Parameter.POSITIONAL_OR_KEYWORD, annotation=Response),
        ]
        # A key that needs the connection alone is no dependency: FastAPI takes 7 microseconds to resolve one.
        parameters += [
            Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[str, Depends(limit.key)])
            for name, limit in self._limits
            if not limit.needs_connection_only
        ]
        self.__signature__ = Signature(parameters)

    async def __call__(self, connection: HTTPConnection, response: Response, **keys: str) -> None:
        scope = connection.scope
        charges = [
            limit.charge(keys[name]) if name in keys else await limit.charge_of(connection)
            for name, limit in self._limits
        ]
        decision = await limiter_of(scope).hit(*charges)
        if not decision.allowed:
            raise refusal(scope, decision)
        tell(scope, response, decision)


def refusal(scope: Scope, decision: Decision) -> RateLimited:
    """The 429 for a decision that refuses; logged."""
    rate = decision.charge.rate
    logger.info("rate_limited", path=scope["path"], policy=rate.name)
    return RateLimited(retry_after_seconds=rate.whole_seconds(decision.excess), headers=limit_headers(decision))
