"""How much of what is allowed, and the generic cell rate algorithm that decides it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, gcd
from typing import Final, NamedTuple, Protocol

__all__ = ["Charge", "Decision", "Limiter", "Rate", "judge", "whole_seconds"]

_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_SYNTAX: Final = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
_MICROSECONDS: Final = 1_000_000
# Up to here a double, which is what Lua counts with, is exact.
_MAX_EXACT: Final = 2**53


@dataclass(frozen=True)
class Rate:
    """So many in each period, as a steady flow with room for a burst.

    Attributes:
        limit: How many in a period; 1 or more.
        period_seconds: The period, in whole microseconds.
        burst: How many at once after a pause; the whole limit by default.
        name: What the `RateLimit` header calls the policy.
    """

    limit: int
    period_seconds: float
    burst: int = 0
    name: str = "default"
    step: int = field(init=False, repr=False, compare=False)
    """What one costs, in units of 1/`scale` microseconds: whole numbers, so that nothing is ever rounded."""
    scale: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        period = round(self.period_seconds * _MICROSECONDS)
        if self.limit < 1 or period < 1 or self.burst < 0:
            raise ValueError("A rate needs a limit of at least 1, a period of more than 0 and no negative burst")
        if not self.burst:
            object.__setattr__(self, "burst", self.limit)
        common = gcd(period, self.limit)
        object.__setattr__(self, "step", period // common)
        object.__setattr__(self, "scale", self.limit // common)
        if self.capacity + self.step > _MAX_EXACT:
            raise ValueError(
                f"{self.limit} in {self.period_seconds:g} s with a burst of {self.burst} cannot be counted"
            )
        if not self.name or not self.name.isascii() or not self.name.isprintable() or '"' in self.name:
            raise ValueError("A rate's name goes into a header: printable ASCII without quotes")

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

    @cached_property
    def capacity(self) -> int:
        """What a whole burst costs, in units of 1/`scale` microseconds."""
        return self.step * self.burst

    @property
    def window_seconds(self) -> float:
        """The time in which a spent burst comes back whole."""
        return self.seconds(self.capacity)

    @cached_property
    def policy(self) -> str:
        """The `RateLimit-Policy` header: the quota, and in how many seconds it comes back whole."""
        return f'"{self.name}";q={self.burst};w={whole_seconds(self.window_seconds)}'

    @cached_property
    def bucket(self) -> str:
        """What tells this rate's buckets from those of others."""
        return f"{self.name}:{self.step}:{self.scale}:{self.burst}"

    def seconds(self, units: int) -> float:
        """Units of 1/`scale` microseconds in seconds."""
        return units / self.scale / _MICROSECONDS


class Charge(NamedTuple):
    """So much on one bucket.

    Attributes:
        rate: The rate of the bucket.
        key: Whose bucket.
        cost: How much; 0 only looks, less gives back.
    """

    rate: Rate
    key: str
    cost: int = 1

    @property
    def amount(self) -> int:
        """The cost in the rate's units."""
        return self.cost * self.rate.step


class Decision(NamedTuple):
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


def judge(charges: Sequence[Charge], debts: Sequence[int]) -> Decision:
    """The generic cell rate algorithm (ITU-T I.371, annex A, in its leaky bucket form) for several buckets at once.

    A bucket is one number, its debt: what has been charged and has not yet flowed off, which it does with `scale` units
    in each microsecond. A charge is allowed when the debt stays within what a whole burst costs. All numbers are whole,
    so every store comes to the same decision.

    Args:
        charges: What is asked.
        debts: The debt of each one's bucket now, before the charge.

    Returns:
        The decision; when it allows, each debt grows by its charge's amount and is never less than 0.
    """
    allowed, tightest, wait, left = True, 0, 0.0, -1
    for place, (charge, debt) in enumerate(zip(charges, debts, strict=True)):
        rate = charge.rate
        excess = debt + charge.amount - rate.capacity
        if excess > 0 and charge.cost > 0:
            allowed = False
            if rate.seconds(excess) > wait:
                tightest, wait = place, rate.seconds(excess)
        elif allowed:
            after = max(0, debt + charge.amount)
            remaining = (rate.capacity - after) // rate.step
            if left < 0 or remaining < left:
                tightest, left = place, remaining
    charge, debt = charges[tightest], debts[tightest]
    if allowed:
        debt = max(0, debt + charge.amount)
    return Decision(
        allowed=allowed,
        charge=charge,
        remaining=max(0, (charge.rate.capacity - debt) // charge.rate.step),
        retry_after_seconds=wait,
        reset_seconds=charge.rate.seconds(debt),
    )


def whole_seconds(seconds: float) -> int:
    """At least 1, rounded up: waiting that long is enough."""
    return max(1, ceil(seconds))
