"""Rate limits, counted."""

from functools import lru_cache, partial

from prometheus_client import Counter

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
        # To find the counter of a policy takes longer than to count.
        self._counters = lru_cache(maxsize=1_024)(partial(_counter, metrics))

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise."""
        decision = await self.limiter.hit(*charges)
        self._counters(decision.charge.rate.name, decision.allowed).inc()
        return decision

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        await self.limiter.reset(*charges)


def _counter(metrics: Metrics, policy: str, allowed: bool) -> Counter:  # noqa: FBT001 - of a cache, by position.
    return metrics.decisions.labels(policy=policy, decision="allowed" if allowed else "refused")
