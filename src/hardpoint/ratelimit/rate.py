"""How much of what is allowed, and the generic cell rate algorithm that decides it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import gcd, isfinite
from typing import Final, NamedTuple, Protocol

__all__ = [
    "MAX_PLAIN_KEY",
    "Charge",
    "Decision",
    "Limiter",
    "Rate",
    "StoreUnavailable",
    "is_whole",
    "judge",
    "judge_one",
]

_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_SYNTAX: Final = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
_MICROSECONDS: Final = 1_000_000
# Up to here a double, which is what Lua counts with, is exact.
_MAX_EXACT: Final = 2**53
MAX_PLAIN_KEY: Final = 64
"""The longest key that a store knows by its own text."""
_DIGEST_MARK: Final = "#"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each period, as a steady flow with room for a burst.

    Attributes:
        limit: How many in a period; 1 or more.
        period_seconds: The period, in whole microseconds.
        burst: How many at once after a pause; the whole limit by default.
        name: What the `RateLimit` header calls the policy.

    Raises:
        ValueError: A value is out of its range, or the numbers are so far apart that a store cannot count exactly.
    """

    limit: int
    period_seconds: float
    burst: int = 0
    name: str = "default"
    step: int = field(init=False, repr=False, compare=False)
    """What one costs, in units of 1/`scale` microseconds: whole numbers, so that nothing is ever rounded."""
    scale: int = field(init=False, repr=False, compare=False)
    capacity: int = field(init=False, repr=False, compare=False)
    """What a whole burst costs, in units of 1/`scale` microseconds."""
    units_per_second: int = field(init=False, repr=False, compare=False)
    """How much flows off in a second, in units of 1/`scale` microseconds."""
    policy: str = field(init=False, repr=False, compare=False)
    """The `RateLimit-Policy` header: the quota, and in how many seconds it comes back whole."""
    fixed_headers: tuple[tuple[bytes, bytes], ...] = field(init=False, repr=False, compare=False)
    """What a response says of the rate whatever is left of it."""
    left_format: bytes = field(init=False, repr=False, compare=False)
    """The `RateLimit` header, for what is left and in how many seconds the whole is back."""
    bucket: str = field(init=False, repr=False, compare=False)
    """What tells this rate's buckets from those of others; a name has no quotes, so it cannot be misread."""

    def __post_init__(self) -> None:
        if not is_whole(self.limit) or not is_whole(self.burst) or not isfinite(self.period_seconds):
            raise ValueError("A rate needs a whole number as its limit and as its burst, and a finite period")
        period = round(self.period_seconds * _MICROSECONDS)
        if self.limit < 1 or period < 1 or self.burst < 0:
            raise ValueError("A rate needs a limit of at least 1, a period of more than 0 and no negative burst")
        if not self.name or not self.name.isascii() or not self.name.isprintable() or set(self.name) & set('"\\'):
            raise ValueError("A rate's name goes into a header: printable ASCII without quotes and backslashes")
        common = gcd(period, self.limit)
        step, scale, burst = period // common, self.limit // common, self.burst or self.limit
        if step * (burst + 1) > _MAX_EXACT:
            raise ValueError(f"{self.limit} in {self.period_seconds:g} s with a burst of {burst} cannot be counted")
        self._set("burst", burst)
        self._set("step", step)
        self._set("scale", scale)
        self._set("capacity", step * burst)
        self._set("units_per_second", scale * _MICROSECONDS)
        self._set("policy", f'"{self.name}";q={burst};w={self.whole_seconds(self.capacity)}')
        quota = (b"x-ratelimit-limit", b"%d" % burst)
        self._set("fixed_headers", (quota, (b"ratelimit-policy", self.policy.encode())))
        self._set("left_format", b'"%s";r=%%d;t=%%d' % self.name.replace("%", "%%").encode())
        self._set("bucket", f'"{self.name}":{step}:{scale}:{burst}:')

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

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
    def window_seconds(self) -> float:
        """The time in which a spent burst comes back whole."""
        return self.seconds(self.capacity)

    def seconds(self, units: int) -> float:
        """Units of 1/`scale` microseconds in seconds."""
        return units / self.units_per_second

    def whole_seconds(self, units: int) -> int:
        """The same in whole seconds, rounded up, so that waiting that long is enough."""
        return -(-units // self.units_per_second)


@dataclass(frozen=True, slots=True)
class Charge:
    """So much on one bucket.

    Attributes:
        rate: The rate of the bucket.
        key: Whose bucket.
        cost: How much; 0 only looks, less gives back.
        needs_store: Whether to refuse rather than to count without the store while it is away.
    """

    rate: Rate
    key: str
    cost: int = 1
    needs_store: bool = False
    bucket: str = field(init=False, repr=False, compare=False)
    """The name of the bucket in a store: bounded, however long the key is, and of ASCII alone."""
    amount: int = field(init=False, repr=False, compare=False)
    """The cost in the rate's units."""

    def __post_init__(self) -> None:
        key = self.key
        # A plain key never looks like a digest, or somebody could take the text of another's digest as a key.
        if len(key) > MAX_PLAIN_KEY or not key.isascii() or key.startswith(_DIGEST_MARK):
            key = _DIGEST_MARK + blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        object.__setattr__(self, "bucket", self.rate.bucket + key)
        object.__setattr__(self, "amount", self.cost * self.rate.step)


class Decision(NamedTuple):
    """Whether charges were allowed, told by the tightest of them.

    Attributes:
        allowed: Whether all were, and so were charged; otherwise none was.
        charge: The tightest: the one that refuses longest, or has the least left.
        remaining: How many more it allows now.
        debt: What its bucket holds after the decision, in the rate's units.
        excess: By how much it is over, in the rate's units; 0 when allowed.
    """

    allowed: bool
    charge: Charge
    remaining: int
    debt: int
    excess: int

    @property
    def retry_after_seconds(self) -> float:
        """After which the same charges would be allowed; 0 when they were."""
        return self.charge.rate.seconds(self.excess)

    @property
    def reset_seconds(self) -> float:
        """After which its burst is whole again."""
        return self.charge.rate.seconds(self.debt)


class Limiter(Protocol):
    """Keeps the buckets."""

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise; at least one.

        A bucket that is named twice is charged once.
        """

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""


class StoreUnavailable(Exception):
    """The store of a limiter is away, slow, full, or answers nonsense; the cause says more."""


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
    if len(charges) == 1:
        return judge_one(charges[0], debts[0])
    decisions = [judge_one(charge, debt) for charge, debt in zip(charges, debts, strict=True)]
    refusals = [decision for decision in decisions if not decision.allowed]
    if refusals:
        return max(refusals, key=lambda decision: decision.retry_after_seconds)
    return min(decisions, key=lambda decision: decision.remaining)


def judge_one(charge: Charge, debt: int) -> Decision:
    """The same for one charge."""
    rate = charge.rate
    after = debt + charge.amount
    left = rate.capacity - after
    if left < 0 < charge.cost:
        return Decision(False, charge, max(0, (rate.capacity - debt) // rate.step), debt, -left)
    if after < 0:
        after, left = 0, rate.capacity
    return Decision(True, charge, left // rate.step if left > 0 else 0, after, 0)


def is_whole(number: object) -> bool:
    """Whether `number` is an integer, whatever its annotation says."""
    return isinstance(number, int) and not isinstance(number, bool)
