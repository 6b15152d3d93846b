"""Buckets in this process: exact here, unknown to other processes, and bounded."""

from collections import OrderedDict

from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import Charge, Decision, decide

__all__ = ["MemoryLimiter"]


class MemoryLimiter:
    """A `Limiter` in memory.

    When there are more keys than `max_keys`, those that were used longest ago are forgotten, which can only be to a
    client's advantage, and only under an attack with as many keys.

    Args:
        max_keys: The most buckets; each takes about 200 bytes.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, *, max_keys: int = 100_000, clock: Clock = monotonic_clock) -> None:
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._max_keys = max_keys
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, float, int, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise."""
        now = self._clock()
        results = [decide(charge, self._full_at.get(_bucket(charge), 0.0), now) for charge in charges]
        decisions = [decision for _, decision in results]
        refused = [decision for decision in decisions if not decision.allowed]
        if refused:
            return max(refused, key=lambda decision: decision.retry_after_seconds)
        for charge, (full_at, _) in zip(charges, results, strict=True):
            if charge.cost:
                bucket = _bucket(charge)
                self._full_at[bucket] = full_at
                self._full_at.move_to_end(bucket)
        self._forget(now)
        return min(decisions, key=lambda decision: decision.remaining)

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        for charge in charges:
            self._full_at.pop(_bucket(charge), None)

    def _forget(self, now: float) -> None:
        # Two of the oldest a call: whole buckets go without ever walking through all, however many there are.
        for _ in range(2):
            if not self._full_at:
                return
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._max_keys:
                return
            del self._full_at[oldest]


def _bucket(charge: Charge) -> tuple[str, float, int, str]:
    rate = charge.rate
    return (rate.name, rate.interval_seconds, rate.burst, charge.key)
