"""The algorithm, without a store: exact over any schedule."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardpoint.ratelimit import Bucket, Charge, MemoryLimiter, Rate
from hardpoint.ratelimit.rate import judge

RATES = st.builds(
    Rate,
    limit=st.integers(1, 1000),
    period_seconds=st.sampled_from([1, 60, 3600, 86400]),
    burst=st.integers(0, 50),
)
# Microseconds between one request and the next, with many at the same moment.
GAPS = st.lists(st.one_of(st.just(0), st.integers(0, 5_000_000)), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "limit", "seconds"),
    [("5/second", 5, 1), ("600/minute", 600, 60), ("1/hour", 1, 3600), ("200001/day", 200001, 86400)],
)
def test_a_rate_is_read(text: str, limit: int, seconds: int) -> None:
    rate = Rate.parse(text)
    assert (rate.limit, rate.period_seconds, rate.burst) == (limit, seconds, limit)


@pytest.mark.parametrize("text", ["", "0/second", "5", "5/week", "-1/minute", "5/minute ", "1e3/hour", "5/minutes"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        Rate.parse(text)


@pytest.mark.parametrize(
    "values",
    [
        {"limit": 0, "period_seconds": 1},
        {"limit": 1, "period_seconds": 0},
        {"limit": 1, "period_seconds": 1, "burst": -1},
        {"limit": 1, "period_seconds": 1, "name": 'a"b'},
        {"limit": 1, "period_seconds": 1, "name": "é"},
        {"limit": 999_999_999, "period_seconds": 86400, "burst": 999_999_999},
    ],
)
def test_a_rate_that_cannot_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rate|burst"):
        Rate(**values)  # type: ignore[arg-type]


@settings(max_examples=1_000, deadline=None)
@given(RATES, GAPS)
async def test_no_schedule_gets_more_than_the_burst_and_the_flow_or_is_refused_less(
    rate: Rate, gaps: list[int]
) -> None:
    now = 1_000_000_000
    limiter = MemoryLimiter(clock=lambda: now / 1_000_000)
    interval = Fraction(rate.step, rate.scale)
    tokens, last = Fraction(rate.burst), now
    for gap in gaps:
        now += gap
        # A token bucket in exact fractions: another form of the same law.
        tokens, last = min(Fraction(rate.burst), tokens + Fraction(now - last) / interval), now
        expected = tokens >= 1
        decision = await limiter.hit(Charge(rate, "key"))
        assert decision.allowed is expected
        if expected:
            tokens -= 1
        assert decision.remaining == int(tokens)
        if not expected:
            assert decision.retry_after_seconds == pytest.approx(float((1 - tokens) * interval) / 1e6)


@given(RATES, st.integers(1, 60))
async def test_waiting_for_retry_after_is_enough(rate: Rate, hits: int) -> None:
    now = 5.0
    limiter = MemoryLimiter(clock=lambda: now)
    for _ in range(hits):
        decision = await limiter.hit(Charge(rate, "key"))
        if not decision.allowed:
            now += rate.whole_seconds(decision.excess)
            assert (await limiter.hit(Charge(rate, "key"))).allowed


@given(st.lists(st.tuples(RATES, st.integers(0, 5), st.integers(0, 10**9)), min_size=1, max_size=5))
def test_several_are_allowed_together_or_not_at_all(parts: list[tuple[Rate, int, int]]) -> None:
    charges = [Charge(rate, "key", cost) for rate, cost, _ in parts]
    debts = [min(debt, rate.capacity) for rate, _, debt in parts]
    decision = judge(charges, debts)
    alone = [judge([charge], [debt]) for charge, debt in zip(charges, debts, strict=True)]
    assert decision.allowed == all(one.allowed for one in alone)
    if decision.allowed:
        assert decision.remaining == min(one.remaining for one in alone)
        assert decision.retry_after_seconds == 0
    else:
        assert decision.retry_after_seconds == max(one.retry_after_seconds for one in alone)
        assert decision.retry_after_seconds > 0


@given(RATES, GAPS)
async def test_a_bucket_of_ones_own_decides_as_a_limiter_does(rate: Rate, gaps: list[int]) -> None:
    now = 0.0
    bucket, limiter = Bucket(rate, clock=lambda: now), MemoryLimiter(clock=lambda: now)
    for gap in gaps:
        now += gap / 1_000_000
        assert bucket.take() == (await limiter.hit(Charge(rate, "k"))).allowed
