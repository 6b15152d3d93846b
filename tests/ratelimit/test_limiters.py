"""Every limiter keeps the same promises: one suite for memory and for a real Valkey."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardpoint.ratelimit import Charge, Limiter, MemoryLimiter, Rate
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


KEYS = [
    "",
    " ",
    "\0",
    "a\0b",
    "é",
    "\ud800",
    "x" * 64,
    "x" * 65,
    "x" * 1_000_000,
    "a b\r\nDEL *",
    "{tag}",
    "#",
    '":1:1:1:',
]


async def test_any_text_is_a_key_of_its_own(limiter: Limiter) -> None:
    one = Rate(1, 3600)
    # What somebody might send who knows how a long key is shortened.
    keys = [*KEYS, Charge(one, KEYS[-5]).bucket.removeprefix(one.bucket)]
    for expected in (True, False):
        decisions = [await limiter.hit(Charge(one, key)) for key in keys]
        assert [decision.allowed for decision in decisions] == [expected] * len(keys)


def test_a_bucket_has_a_short_name_and_no_other_has_the_same() -> None:
    rates = [Rate(1, 1), Rate(1, 1, name="1"), Rate(1, 1, burst=2), Rate(1, 2), Rate(2, 1), Rate(1, 1, name="a:1:1:1:")]
    names = [Charge(rate, key).bucket for rate in rates for key in [*KEYS, "1:1:1:", ':1:1:1:"']]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and len(name) < 120 for name in names)


async def test_a_bucket_that_is_named_twice_is_charged_once(limiter: Limiter) -> None:
    decision = await limiter.hit(Charge(HOURLY, "key"), Charge(HOURLY, "key"))
    assert decision.remaining == 9
    assert (await limiter.hit(Charge(HOURLY, "key"))).remaining == 8


async def test_nothing_to_charge_is_an_error(limiter: Limiter) -> None:
    with pytest.raises((ValueError, IndexError)):
        await limiter.hit()


async def test_another_rate_begins_anew_and_the_old_one_goes_on_beside_it(limiter: Limiter) -> None:
    # A deployment that changes a limit: for a while old and new processes count by their own.
    old, new = Charge(Rate(100, 86400), "key"), Charge(Rate(10, 86400), "key")
    assert (await limiter.hit(replace(old, cost=100))).remaining == 0
    decisions = [await limiter.hit(charge) for _ in range(15) for charge in (old, new)]
    assert [decision.allowed for decision in decisions[::2]] == [False] * 15
    assert [decision.allowed for decision in decisions[1::2]] == [True] * 10 + [False] * 5


@pytest.mark.parametrize("rate", [Rate(1, 86400 * 365 * 100), Rate(7, 11.000001, burst=9_999)])
async def test_numbers_at_the_edge_of_what_can_be_counted_are_counted(limiter: Limiter, rate: Rate) -> None:
    assert (await limiter.hit(Charge(rate, "key", cost=rate.burst))).remaining == 0
    refused = await limiter.hit(Charge(rate, "key"))
    assert not refused.allowed
    # All but what has flowed meanwhile, which on the busiest machine is less than half a minute.
    assert refused.excess > rate.step - 30 * rate.units_per_second


async def test_a_caller_that_is_cancelled_disturbs_nobody(limiter: Limiter) -> None:
    rate = Rate(1_000_000, 3600)
    tasks = [asyncio.create_task(limiter.hit(Charge(rate, "key"))) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(getattr(result, "allowed", False) for result in results[1::2])


async def test_who_is_cancelled_before_it_was_asked_is_not_charged(valkey: ValkeyServer) -> None:
    rate = Rate(100, 86400)
    async with open_valkey_limiter(valkey.url, timeout_seconds=10) as store:
        tasks = [asyncio.create_task(store.hit(Charge(rate, "key"))) for _ in range(50)]
        # All of them wait for the end of this tick.
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert (await store.hit(Charge(rate, "key", cost=0))).remaining == 75


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
    await store.hit(Charge(Rate(10, 600), "key"), Charge(Rate(10, 3600), "key"))
    short, long = sorted(valkey.command("PTTL", key) for key in valkey.command("KEYS", "*key"))
    assert 50_000 < short <= 60_002
    assert 350_000 < long <= 360_002


async def test_a_clock_that_is_set_back_gives_nothing_away_and_locks_nobody_out(
    valkey: ValkeyServer, store: ValkeyLimiter
) -> None:
    charge = Charge(Rate(10, 3600), "key")
    await store.hit(replace(charge, cost=10))
    (name,) = valkey.command("KEYS", "*key")
    written, debt = valkey.command("GET", name).split()
    # As if the server had written it an hour from now.
    valkey.command("SET", name, f"{int(written) + 3_600_000_000} {int(debt)}")
    refused = await store.hit(charge)
    assert not refused.allowed
    assert refused.retry_after_seconds == 360
    # From here on time passes again.
    again = await store.hit(charge)
    assert 0 < again.retry_after_seconds < 360
    assert 0 < valkey.command("PTTL", name) <= 3_600_002


@pytest.mark.parametrize("value", ["", "nonsense", "1", "1 2 3", "-1 5", "1e5 7", "\0\xff"])
async def test_what_somebody_else_wrote_into_a_bucket_is_not_read(
    valkey: ValkeyServer, store: ValkeyLimiter, value: str
) -> None:
    await store.hit(Charge(HOURLY, "key"))
    (name,) = valkey.command("KEYS", "*key")
    valkey.command("SET", name, value)
    assert (await store.hit(Charge(HOURLY, "key"))).remaining == 9
    assert (await store.hit(Charge(HOURLY, "key"))).remaining == 8


async def test_the_script_is_loaded_again_while_many_check(valkey: ValkeyServer, store: ValkeyLimiter) -> None:
    async def flush() -> None:
        for _ in range(20):
            await asyncio.to_thread(valkey.command, "SCRIPT", "FLUSH")

    async def check() -> int:
        allowed = 0
        for _ in range(40):
            allowed += (await store.hit(Charge(Rate(500, 86400), "key"))).allowed
        return allowed

    *allowed, _ = await asyncio.gather(*[check() for _ in range(20)], flush())
    assert sum(allowed) == 500


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


async def test_a_reset_needs_no_other_connection(valkey: ValkeyServer, store: ValkeyLimiter) -> None:
    # To make one takes several round trips, which from far away are more than a check's time.
    await store.hit(Charge(HOURLY, "key", cost=10), Charge(HOURLY, "other", cost=10))
    before = int(valkey.command("INFO", "stats")["total_connections_received"])
    await store.reset(Charge(HOURLY, "key"), Charge(HOURLY, "other"))
    # The one that asks is new.
    assert int(valkey.command("INFO", "stats")["total_connections_received"]) == before + 1
    for key in ("key", "other"):
        assert valkey.command("EXISTS", "{hardpoint:limit}:" + Charge(HOURLY, key).bucket) == 0


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


MILLION = """
import asyncio
from pathlib import Path
from hardpoint.ratelimit import Charge, MemoryLimiter, Rate
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
async def main():
    limiter, rate, before = MemoryLimiter(), Rate(600, 86400), resident()
    for number in range(1_000_000):
        await limiter.hit(Charge(rate, f"address:2001:db8:{number >> 16:x}:{number & 65535:x}::/64"))
    print(resident() - before, len(limiter))
asyncio.run(main())
"""


def test_a_million_keys_leave_the_memory_under_its_bound() -> None:
    done = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, timeout=300, check=True)
    resident, keys = map(int, done.stdout.split())
    assert keys == 100_000
    assert resident < keys * 550


async def test_memory_forgets_those_that_were_charged_longest_ago() -> None:
    limiter = MemoryLimiter(max_keys=100)
    rates = [Rate(10, 3600, name=name) for name in "abcdef"]
    often = Rate(10_000, 86400 * 365)
    for number in range(1_000):
        # More new buckets at once than one would guess.
        await limiter.hit(*[Charge(rate, str(number)) for rate in rates])
        await limiter.hit(Charge(often, "always"))
        assert len(limiter) <= 100
    assert (await limiter.hit(Charge(rates[0], "999"))).remaining == 8
    assert (await limiter.hit(Charge(rates[0], "900"))).remaining == 9
    assert (await limiter.hit(Charge(often, "always", cost=0))).remaining == 9_000


async def test_memory_forgets_what_is_whole_again() -> None:
    now = time.monotonic()
    limiter = MemoryLimiter(clock=lambda: now)
    for number in range(100):
        await limiter.hit(Charge(Rate(10, 1), str(number)))
    now += 2
    for number in range(60):
        await limiter.hit(Charge(Rate(10, 1), f"later {number}"))
    assert len(limiter) == 60
