"""Every limiter keeps the same promises: one suite for memory and for a real Valkey."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardpoint.ratelimit import Charge, Limiter, MemoryLimiter, Rate, address_key
from hardpoint.ratelimit.valkey import ValkeyLimiter, open_valkey_limiter
from support.servers import ValkeyServer

HOURLY = Rate(10, 3600)
EXAMPLES = count()


@pytest.fixture(params=["memory", "valkey"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter()
        return
    server: ValkeyServer = request.getfixturevalue("valkey")
    # A busy machine must not turn a slow answer into an outage here; test_outages.py is about those.
    async with open_valkey_limiter(server.url, timeout_seconds=10) as store:
        yield store


async def test_exactly_the_limit_is_admitted_however_many_ask_at_once(limiter: Limiter) -> None:
    decisions = await asyncio.gather(*[limiter.hit(Charge(HOURLY, "one")) for _ in range(500)])
    assert sum(decision.allowed for decision in decisions) == 10
    assert sorted(decision.remaining for decision in decisions if decision.allowed) == list(range(10))
    assert all(0 < d.retry_after_seconds <= 360 for d in decisions if not d.allowed)


async def test_keys_and_rates_have_buckets_of_their_own(limiter: Limiter) -> None:
    one = Rate(1, 3600)
    assert (await limiter.hit(Charge(one, "a"))).allowed
    assert not (await limiter.hit(Charge(one, "a"))).allowed
    assert (await limiter.hit(Charge(one, "b"))).allowed
    assert (await limiter.hit(Charge(Rate(1, 60), "a"))).allowed
    assert (await limiter.hit(Charge(Rate(1, 3600, name="other"), "a"))).allowed


async def test_what_is_refused_charges_nothing(limiter: Limiter) -> None:
    wide, narrow = Rate(100, 3600, name="wide"), Rate(2, 3600, name="narrow")
    for _ in range(5):
        await limiter.hit(Charge(wide, "key"), Charge(narrow, "key"))
    look = await limiter.hit(Charge(wide, "key", cost=0))
    assert look.remaining == 98
    refused = await limiter.hit(Charge(wide, "key"), Charge(narrow, "key"))
    assert refused.charge.rate is narrow


async def test_looking_charges_nothing_and_giving_back_never_gives_more(limiter: Limiter) -> None:
    for _ in range(3):
        assert (await limiter.hit(Charge(HOURLY, "key", cost=0))).remaining == 10
    await limiter.hit(Charge(HOURLY, "key", cost=4))
    assert (await limiter.hit(Charge(HOURLY, "key", cost=-1))).remaining in {7, 6}
    await limiter.hit(Charge(HOURLY, "key", cost=-10))
    assert (await limiter.hit(Charge(HOURLY, "key", cost=0))).remaining == 10
    assert (await limiter.hit(Charge(HOURLY, "key", cost=10))).allowed
    assert not (await limiter.hit(Charge(HOURLY, "key"))).allowed


async def test_a_cost_over_what_is_left_is_refused_whole(limiter: Limiter) -> None:
    assert (await limiter.hit(Charge(HOURLY, "key", cost=7))).remaining == 3
    assert not (await limiter.hit(Charge(HOURLY, "key", cost=4))).allowed
    assert (await limiter.hit(Charge(HOURLY, "key", cost=3))).allowed


async def test_a_reset_forgets(limiter: Limiter) -> None:
    await limiter.hit(Charge(HOURLY, "key", cost=10))
    await limiter.reset(Charge(HOURLY, "key"))
    assert (await limiter.hit(Charge(HOURLY, "key"))).remaining == 9


async def test_the_flow_goes_on(limiter: Limiter) -> None:
    quick = Rate(50, 1, burst=1)
    assert (await limiter.hit(Charge(quick, "key"))).allowed
    decision = await limiter.hit(Charge(quick, "key"))
    while not decision.allowed:
        await asyncio.sleep(decision.retry_after_seconds)
        decision = await limiter.hit(Charge(quick, "key"))


@pytest.mark.parametrize("key", ["", "é", "\ud800", "x" * 100_000, "a b\r\nDEL *", "{tag}"])
async def test_any_text_is_a_key(limiter: Limiter, key: str) -> None:
    one = Rate(1, 3600)
    assert (await limiter.hit(Charge(one, key))).allowed
    assert not (await limiter.hit(Charge(one, key))).allowed


async def test_a_caller_that_is_cancelled_disturbs_nobody(limiter: Limiter) -> None:
    rate = Rate(1_000_000, 3600)
    tasks = [asyncio.create_task(limiter.hit(Charge(rate, "key"))) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(getattr(result, "allowed", False) for result in results[1::2])


@pytest.fixture
async def store(valkey: ValkeyServer) -> AsyncIterator[ValkeyLimiter]:
    async with open_valkey_limiter(valkey.url, timeout_seconds=10) as store:
        yield store


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.builds(Rate, limit=st.integers(1, 50), period_seconds=st.just(86400), burst=st.integers(0, 20)),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 5)), min_size=1, max_size=30),
)
async def test_both_decide_alike(store: ValkeyLimiter, rate: Rate, hits: list[tuple[str, int]]) -> None:
    # A day's rate flows so slowly that the two clocks cannot disagree about a whole one.
    memory, example = MemoryLimiter(), next(EXAMPLES)
    for key, cost in hits:
        charge = Charge(rate, f"{example}:{key}", min(cost, rate.burst))
        assert (await store.hit(charge)).allowed == (await memory.hit(charge)).allowed


async def test_the_buckets_end_by_themselves(valkey: ValkeyServer, store: ValkeyLimiter) -> None:
    await store.hit(Charge(Rate(10, 1), "key"), Charge(Rate(10, 3600), "key"))
    short, long = sorted(valkey.command("PTTL", key) for key in valkey.command("KEYS", "*"))
    assert 0 < short <= 102
    assert 350_000 < long <= 360_002


async def test_the_script_is_loaded_again_after_the_cache_was_emptied(
    valkey: ValkeyServer, store: ValkeyLimiter
) -> None:
    assert (await store.hit(Charge(HOURLY, "key"))).remaining == 9
    valkey.command("SCRIPT", "FLUSH")
    assert (await store.hit(Charge(HOURLY, "key"))).remaining == 8


async def test_what_arrives_together_is_one_round_trip(valkey: ValkeyServer, store: ValkeyLimiter) -> None:
    await store.hit(Charge(HOURLY, "first"))
    before = int(valkey.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"])
    await asyncio.gather(*[store.hit(Charge(HOURLY, str(number))) for number in range(100)])
    assert int(valkey.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"]) == before + 1


PROCESS = """
import asyncio, sys, random
from hardpoint.ratelimit import Charge, Rate
from hardpoint.ratelimit.valkey import open_valkey_limiter
async def main(url, keys, seed):
    chance = random.Random(seed)
    async with open_valkey_limiter(url, timeout_seconds=30) as limiter:
        async def client(order):
            allowed = []
            for key in order:
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() / 1000)
                if (await limiter.hit(Charge(Rate(7, 86400), str(key)))).allowed:
                    allowed.append(key)
            return allowed
        orders = [chance.sample(range(keys), keys) for _ in range(8)]
        print(*[key for allowed in await asyncio.gather(*map(client, orders)) for key in allowed])
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def test_several_processes_together_admit_exactly_the_limit_in_a_thousand_schedules(valkey: ValkeyServer) -> None:
    # Each key is a schedule of its own: three processes with eight clients each ask for it at random moments.
    keys = 1_000
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, valkey.url, str(keys), str(random.randrange(2**32))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    admitted = [0] * keys
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        for key in output.split():
            admitted[int(key)] += 1
    assert admitted == [7] * keys


async def test_memory_stays_under_its_bound_with_a_million_keys() -> None:
    limiter = MemoryLimiter(max_keys=10_000)
    rate = Rate(10, 3600)
    most = 0
    for number in range(1_000_000):
        await limiter.hit(Charge(rate, f"address:{number}"))
        most = max(most, len(limiter))
    assert most <= 10_001
    # Those that were charged last are remembered.
    assert (await limiter.hit(Charge(rate, "address:999999"))).remaining == 8


async def test_memory_forgets_what_is_whole_again() -> None:
    now = time.monotonic()
    limiter = MemoryLimiter(clock=lambda: now)
    for number in range(100):
        await limiter.hit(Charge(Rate(10, 1), str(number)))
    now += 2
    for number in range(100):
        await limiter.hit(Charge(Rate(10, 1), f"later {number % 2}"))
    assert len(limiter) == 2


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_address_is_its_host_or_its_network(host: str, key: str) -> None:
    assert address_key(host) == key
