"""Buckets in this process: exact here, unknown to other processes, and bounded."""

from collections import OrderedDict

from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import Charge, Decision, Rate, judge, judge_one
from hardpoint.ratelimit.workers import warn_of_several

__all__ = ["MemoryLimiter"]


class MemoryLimiter:
    """A `Limiter` in memory.

    When there are more keys than `max_keys`, those that were charged longest ago are forgotten, which can only be to a
    client's advantage, and only under an attack with as many keys.

    Args:
        max_keys: The most buckets. Each takes about 300 bytes, and 550 at worst, with what the allocator keeps while
            keys come and go: the default is good for 55 MB.
        clock: A monotonic clock, in seconds.
        is_per_process: Whether that each process counts for itself is what is wanted; otherwise it is logged as a
            warning when the server has several.

    Raises:
        ValueError: `max_keys` is less than 1.
    """

    def __init__(
        self, *, max_keys: int = 100_000, clock: Clock = monotonic_clock, is_per_process: bool = False
    ) -> None:
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        if not is_per_process:
            warn_of_several(remedy="use open_valkey_limiter instead of MemoryLimiter")
        self._max_keys = max_keys
        self._clock = clock
        # By bucket the moment at which it is whole again, in its rate's units; the one charged longest ago first.
        self._buckets: OrderedDict[str, tuple[int, Rate]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise."""
        return self.decide(*charges)

    def decide(self, *charges: Charge) -> Decision:
        """The same at once, for who need not wait."""
        now = int(self._clock() * 1_000_000)
        if len(charges) == 1:
            # The usual case, in one go: as the one below it takes twice as long.
            charge = charges[0]
            bucket, rate = charge.bucket, charge.rate
            kept = self._buckets.get(bucket)
            scaled = now * rate.scale
            debt = kept[0] - scaled if kept is not None else 0
            decision = judge_one(charge, max(0, debt))
            if decision.allowed and charge.cost:
                self._buckets[bucket] = (scaled + decision.debt, rate)
                if kept is None:
                    self._forget(now)
                else:
                    self._buckets.move_to_end(bucket)
            return decision
        debts = [self._debt(charge, now) for charge in charges]
        decision = judge(charges, debts)
        if decision.allowed:
            for charge, debt in zip(charges, debts, strict=True):
                if charge.cost:
                    self._set(charge, max(0, debt + charge.amount), now)
        return decision

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        for charge in charges:
            self._buckets.pop(charge.bucket, None)

    def _debt(self, charge: Charge, now: int) -> int:
        kept = self._buckets.get(charge.bucket)
        if kept is None:
            return 0
        return max(0, kept[0] - now * charge.rate.scale)

    def _set(self, charge: Charge, debt: int, now: int) -> None:
        buckets, known = self._buckets, len(self._buckets)
        buckets[charge.bucket] = (now * charge.rate.scale + debt, charge.rate)
        if len(buckets) == known:
            buckets.move_to_end(charge.bucket)
        else:
            self._forget(now)

    def _forget(self, now: int) -> None:
        # Two of the oldest for each new one: whole buckets go without ever walking through all, however many there are.
        buckets = self._buckets
        for _ in range(2):
            if not buckets:
                return
            oldest, (full_at, rate) = next(iter(buckets.items()))
            if full_at > now * rate.scale and len(buckets) <= self._max_keys:
                return
            del buckets[oldest]
