"""Buckets in this process: exact here, unknown to other processes, and bounded."""

from collections import OrderedDict

from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import Charge, Decision, judge

__all__ = ["MemoryLimiter"]


class MemoryLimiter:
    """A `Limiter` in memory.

    When there are more keys than `max_keys`, those that were charged longest ago are forgotten, which can only be to a
    client's advantage, and only under an attack with as many keys.

    Args:
        max_keys: The most buckets; each takes about 300 bytes.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, *, max_keys: int = 100_000, clock: Clock = monotonic_clock) -> None:
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._max_keys = max_keys
        self._clock = clock
        # The moment at which a bucket is whole again, in its rate's units, and the same in microseconds.
        self._full_at: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise."""
        now = int(self._clock() * 1_000_000)
        debts = [self._debt(charge, now) for charge in charges]
        decision = judge(charges, debts)
        if decision.allowed:
            for charge, debt in zip(charges, debts, strict=True):
                if charge.cost:
                    self._set(charge, max(0, debt + charge.amount), now)
        self._forget(now)
        return decision

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        for charge in charges:
            self._full_at.pop((charge.rate.bucket, charge.key), None)

    def _debt(self, charge: Charge, now: int) -> int:
        full_at, _ = self._full_at.get((charge.rate.bucket, charge.key), (0, 0))
        return max(0, full_at - now * charge.rate.scale)

    def _set(self, charge: Charge, debt: int, now: int) -> None:
        bucket = (charge.rate.bucket, charge.key)
        scale = charge.rate.scale
        self._full_at[bucket] = (now * scale + debt, now - -debt // scale)
        self._full_at.move_to_end(bucket)

    def _forget(self, now: int) -> None:
        # Two of the oldest a call: whole buckets go without ever walking through all, however many there are.
        for _ in range(2):
            if not self._full_at:
                return
            oldest, (_, whole_at) = next(iter(self._full_at.items()))
            if whole_at > now and len(self._full_at) <= self._max_keys:
                return
            del self._full_at[oldest]
