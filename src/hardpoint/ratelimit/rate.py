"""How much of what is allowed, and the generic cell rate algorithm that decides it."""

import re
from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol

__all__ = ["Charge", "Decision", "Limiter", "Rate", "decide"]

_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_SYNTAX: Final = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each period, as a steady flow with room for a burst.

    Attributes:
        limit: How many in a period; 1 or more.
        period_seconds: The period.
        burst: How many at once after a pause; the whole limit by default.
        name: What the `RateLimit` header calls the policy.
    """

    limit: int
    period_seconds: float
    burst: int = 0
    name: str = "default"

    def __post_init__(self) -> None:
        if self.limit < 1 or self.period_seconds <= 0 or self.burst < 0:
            raise ValueError("A rate needs a limit of at least 1, a period of more than 0 and no negative burst")
        if not self.burst:
            object.__setattr__(self, "burst", self.limit)

    @classmethod
    def parse(cls, text: str, *, burst: int = 0, name: str = "default") -> "Rate":
        """The rate that `N/second`, `N/minute`, `N/hour` or `N/day` says.

        Raises:
            ValueError: It says something else.
        """
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a rate; write N/second, N/minute, N/hour or N/day")
        return cls(limit=int(match[1]), period_seconds=_PERIODS[match[2]], burst=burst, name=name)

    @property
    def interval_seconds(self) -> float:
        """The time after which one more is allowed."""
        return self.period_seconds / self.limit

    @property
    def window_seconds(self) -> float:
        """The time in which a spent burst comes back whole."""
        return self.interval_seconds * self.burst


@dataclass(frozen=True, slots=True)
class Charge:
    """So much on one bucket.

    Attributes:
        rate: The rate of the bucket.
        key: Whose bucket.
        cost: How much; 0 only looks, less gives back.
    """

    rate: Rate
    key: str
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether charges were allowed, told by the tightest of them.

    Attributes:
        allowed: Whether all were, and so were charged; otherwise none was.
        charge: The tightest: the one that refuses longest, or has the least left.
        remaining: How many more it allows now.
        retry_after_seconds: After which the same charges would be allowed; 0 when they were.
        reset_seconds: After which its burst is whole again.
    """

    allowed: bool
    charge: Charge
    remaining: int
    retry_after_seconds: float
    reset_seconds: float


class Limiter(Protocol):
    """Keeps the buckets."""

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise; at least one."""

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""


def decide(charge: Charge, full_at: float, now: float) -> tuple[float, Decision]:
    """The generic cell rate algorithm for one bucket (ITU-T I.371, annex A, the virtual scheduling form).

    A bucket is one number: the moment at which it is whole again. A charge moves it on by its cost; it is allowed when
    the bucket would be whole again within the time that a whole burst takes.

    Args:
        charge: What is asked.
        full_at: The bucket's number; anything up to `now` is a whole bucket.
        now: The time.

    Returns:
        The number after the charge, and the decision.
    """
    rate = charge.rate
    start = max(full_at, now)
    after = start + charge.cost * rate.interval_seconds
    excess = after - now - rate.window_seconds
    # Rounding must not refuse the last of a burst.
    allowed = excess <= rate.interval_seconds * 1e-6
    counted = after if allowed else start
    remaining = max(0, int((rate.window_seconds - (counted - now)) / rate.interval_seconds + 1e-6))
    return counted, Decision(
        allowed=allowed,
        charge=charge,
        remaining=remaining,
        retry_after_seconds=0.0 if allowed else excess,
        reset_seconds=max(0.0, counted - now),
    )


def whole_seconds(seconds: float) -> int:
    """At least 1, rounded up: waiting that long is enough."""
    return max(1, ceil(seconds))
