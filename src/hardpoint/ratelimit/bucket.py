"""A bucket that its owner keeps: for what has a life of its own, such as a connection."""

from hardpoint.arguments import check_argument
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import Rate

__all__ = ["Bucket"]


class Bucket:
    """One bucket of a rate, by the same algorithm as every limiter's: exact, and gone with its owner.

    Args:
        rate: The rate.
        clock: A monotonic clock, in seconds.

    Raises:
        TypeError: `rate` is no `Rate`.
    """

    __slots__ = ("_clock", "_full_at", "_rate")

    def __init__(self, rate: Rate, *, clock: Clock = monotonic_clock) -> None:
        check_argument("rate", rate, Rate, "Rate.parse('10/second')")
        self._rate = rate
        self._clock = clock
        # The moment at which it is whole again, in the rate's units.
        self._full_at = 0

    def take(self) -> bool:
        """Charge it once if that is allowed; whether it was."""
        now = int(self._clock() * 1_000_000) * self._rate.scale
        debt = max(0, self._full_at - now) + self._rate.step
        if debt > self._rate.capacity:
            return False
        self._full_at = now + debt
        return True
