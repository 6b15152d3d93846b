"""Rate limits by the generic cell rate algorithm: on the whole service, and on failed logins."""

from hardpoint.ratelimit.keys import address_key
from hardpoint.ratelimit.login import FailureLimiter
from hardpoint.ratelimit.memory import MemoryLimiter
from hardpoint.ratelimit.middleware import RateLimitMiddleware
from hardpoint.ratelimit.rate import Charge, Decision, Limiter, Rate

__all__ = [
    "Charge",
    "Decision",
    "FailureLimiter",
    "Limiter",
    "MemoryLimiter",
    "Rate",
    "RateLimitMiddleware",
    "address_key",
]
