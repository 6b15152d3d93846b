"""A store that is away never makes an outage of the service: stopped, killed, full, slow, its pool exhausted."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from hardpoint.aio import running
from hardpoint.errors import ServiceUnavailable
from hardpoint.ratelimit import Charge, Rate, ResilientLimiter, open_resilient_limiter
from hardpoint.ratelimit.resilient import Breaker
from hardpoint.ratelimit.valkey import ValkeyLimiter, open_valkey_limiter
from hardpoint.valkey import ValkeyUnavailable, close_client, make_client
from support.asgi import logged
from support.servers import ValkeyServer

RATE = Rate(1_000_000, 86400)
STRICT = Rate(5, 86400)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer.started() as server:
        yield server


@pytest.fixture
async def limiter(server: ValkeyServer) -> AsyncIterator[ResilientLimiter]:
    async with open_valkey_limiter(server.url, timeout_seconds=0.5) as store, open_resilient_limiter(store) as limiter:
        # The first check connects and loads the script.
        await limiter.hit(Charge(RATE, "warm"))
        await closed(limiter)
        yield limiter


async def closed(limiter: ResilientLimiter) -> None:
    while limiter.breaker.is_open:
        await asyncio.sleep(0.01)


async def under_load(limiter: ResilientLimiter, until: asyncio.Event) -> int:
    """Keep asking; every answer is a decision. How many there were."""
    answers = 0
    while not until.is_set():
        decisions = await asyncio.gather(*[limiter.hit(Charge(RATE, str(number))) for number in range(20)])
        assert all(decision.allowed for decision in decisions)
        answers += len(decisions)
        await asyncio.sleep(0)
    return answers


def shut_out(server: ValkeyServer) -> None:
    """Let nobody in any more, and throw out who is."""
    with Redis(port=server.port) as client:
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


FAULTS = {
    "stopped": (lambda server: server.signal(signal.SIGSTOP), lambda server: server.signal(signal.SIGCONT)),
    "killed": (lambda server: server.kill(), lambda server: server.start()),
    "full": (
        lambda server: server.command("CONFIG", "SET", "maxmemory", "1"),
        lambda server: server.command("CONFIG", "SET", "maxmemory", "0"),
    ),
    "out of clients": (shut_out, lambda server: (server.kill(), server.start())),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_store_goes_away_and_comes_back_under_load(
    server: ValkeyServer, limiter: ResilientLimiter, fault: str
) -> None:
    breaks, mends = FAULTS[fault]
    done = asyncio.Event()
    with logged() as records:
        async with asyncio.TaskGroup() as group:
            load = group.create_task(under_load(limiter, done))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(breaks, server)
            while not limiter.breaker.is_open:
                await asyncio.sleep(0.01)
            # Meanwhile this process counts by itself.
            allowed = [(await limiter.hit(Charge(STRICT, "meanwhile"))).allowed for _ in range(10)]
            assert allowed == [True] * 5 + [False] * 5
            await asyncio.to_thread(mends, server)
            await closed(limiter)
            done.set()
        assert load.result() > 0
        # Exact again, and counted where every process sees it.
        async with open_valkey_limiter(server.url, timeout_seconds=10) as other:
            await asyncio.gather(*[other.hit(Charge(STRICT, "after")) for _ in range(3)])
        decisions = [await limiter.hit(Charge(STRICT, "after")) for _ in range(5)]
        if not limiter.breaker.is_open:
            assert [decision.allowed for decision in decisions] == [True, True, False, False, False]
    assert len(records.fields("limiter_store_unavailable")) == limiter.breaker.outages
    assert len(records.fields("limiter_store_recovered")) == limiter.breaker.outages


async def test_nobody_waits_longer_than_the_time_out_and_after_it_nobody_waits(
    server: ValkeyServer, limiter: ResilientLimiter
) -> None:
    outages, skipped = limiter.breaker.outages, limiter.breaker.skipped
    server.signal(signal.SIGSTOP)
    # All of them are queued behind the one batch that is on its way; they fail with it, not one batch after another.
    decisions = await asyncio.gather(*[limiter.hit(Charge(RATE, str(number))) for number in range(2_000)])
    assert all(decision.allowed for decision in decisions)
    assert limiter.breaker.outages == outages + 1
    assert limiter.breaker.skipped == skipped + 2_000


async def test_a_limiter_may_refuse_instead(server: ValkeyServer, limiter: ResilientLimiter) -> None:
    refusing = limiter.refusing()
    assert (await refusing.hit(Charge(STRICT, "key"))).remaining == 4
    server.kill()
    with pytest.raises(ServiceUnavailable) as refused:
        await refusing.hit(Charge(STRICT, "key"))
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "1"
    assert limiter.breaker.is_open
    # The other one goes on.
    assert (await limiter.hit(Charge(STRICT, "key"))).allowed
    server.start()
    await closed(limiter)
    assert (await refusing.hit(Charge(STRICT, "key"))).remaining == 4


async def test_a_reset_while_the_store_is_away_is_no_error(server: ValkeyServer, limiter: ResilientLimiter) -> None:
    server.kill()
    await limiter.reset(Charge(STRICT, "key"))
    assert limiter.breaker.is_open
    await limiter.hit(Charge(STRICT, "key", cost=5))
    await limiter.reset(Charge(STRICT, "key"))
    assert (await limiter.hit(Charge(STRICT, "key"))).remaining == 4


async def test_a_start_without_the_store_counts_in_memory_until_it_is_there() -> None:
    server = ValkeyServer()
    try:
        async with open_valkey_limiter(server.url) as store, open_resilient_limiter(store) as limiter:
            assert (await limiter.hit(Charge(STRICT, "key"))).remaining == 4
            assert limiter.breaker.is_open
            await asyncio.to_thread(server.start)
            await closed(limiter)
            assert (await limiter.hit(Charge(STRICT, "key"))).remaining == 4
    finally:
        server.kill()


async def test_the_breaker_probes_on_a_schedule_until_the_store_is_back() -> None:
    slept: list[float] = []
    probes = 0

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async def probe() -> None:
        nonlocal probes
        probes += 1
        if probes < 4:
            raise ConnectionError

    breaker = Breaker(probe, sleep=sleep)
    task = asyncio.create_task(breaker.run())
    breaker.open(ConnectionError())
    breaker.open(ConnectionError())
    while breaker.is_open:
        await asyncio.sleep(0)
    assert (breaker.outages, probes, slept) == (1, 4, [0.5] * 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_connection_that_cannot_be_closed_in_time_does_not_end_the_limiter(server: ValkeyServer) -> None:
    client = make_client(server.url, timeout_seconds=0.2)
    store = ValkeyLimiter(client, timeout_seconds=0.2)
    async with running(store.run()):
        assert (await store.hit(Charge(RATE, "warm"))).allowed
        # Another one, which is not the one that will fail.
        await asyncio.gather(client.ping(), client.ping())
        connections = list(client.connection_pool._available_connections)
        for connection in connections:
            # As on a busy machine, where the library's own time for closing passes as well.
            connection.socket_connect_timeout = 1e-9
        server.signal(signal.SIGSTOP)
        with pytest.raises(ValkeyUnavailable):
            await store.hit(Charge(RATE, "stopped"))
        # It closes the others behind the caller's back.
        while any(connection.is_connected for connection in connections):
            await asyncio.sleep(0.01)
        server.signal(signal.SIGCONT)
        for connection in connections:
            connection.socket_connect_timeout = 1.0
        assert (await store.hit(Charge(RATE, "again"))).allowed
    await close_client(client)
