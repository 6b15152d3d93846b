"""Rate limits by the generic cell rate algorithm: on a service, a route, a socket's messages, and on failed logins.

`hardpoint.ratelimit.valkey` is imported by its own name, because it needs the extra `redis`.
"""

from hardpoint.ratelimit.bucket import Bucket
from hardpoint.ratelimit.keys import (
    Key,
    address_key,
    by_address,
    by_address_and_route,
    by_network,
    by_nothing,
    by_route,
)
from hardpoint.ratelimit.limit import RateLimit, RateLimits
from hardpoint.ratelimit.login import FailureLimiter
from hardpoint.ratelimit.memory import MemoryLimiter
from hardpoint.ratelimit.middleware import RateLimitMiddleware
from hardpoint.ratelimit.rate import Charge, Decision, Limiter, Rate, StoreUnavailable
from hardpoint.ratelimit.resilient import ResilientLimiter, open_resilient_limiter
from hardpoint.ratelimit.workers import warn_of_several

__all__ = [
    "Bucket",
    "Charge",
    "Decision",
    "FailureLimiter",
    "Key",
    "Limiter",
    "MemoryLimiter",
    "Rate",
    "RateLimit",
    "RateLimitMiddleware",
    "RateLimits",
    "ResilientLimiter",
    "StoreUnavailable",
    "address_key",
    "by_address",
    "by_address_and_route",
    "by_network",
    "by_nothing",
    "by_route",
    "open_resilient_limiter",
    "warn_of_several",
]
