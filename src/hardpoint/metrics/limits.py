"""Rate limits, counted."""

from hardpoint.metrics.core import Metrics
from hardpoint.ratelimit import Charge, Decision, Limiter

__all__ = ["MeteredLimiter"]


class MeteredLimiter:
    """A `Limiter` whose decisions are counted by policy.

    Args:
        limiter: The one that decides.
        metrics: Where to count.

    Attributes:
        limiter: The one that decides.
    """

    def __init__(self, limiter: Limiter, metrics: Metrics) -> None:
        self.limiter = limiter
        self._decisions = metrics.decisions

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise."""
        decision = await self.limiter.hit(*charges)
        verdict = "allowed" if decision.allowed else "refused"
        self._decisions.labels(policy=decision.charge.rate.name, decision=verdict).inc()
        return decision

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        await self.limiter.reset(*charges)
