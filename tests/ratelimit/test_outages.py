"""A store that is away never makes an outage of the service: stopped, killed, full, slow, its pool exhausted."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from redis import Redis
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

from hardpoint.aio import running
from hardpoint.errors import ServiceUnavailable, install_error_handlers
from hardpoint.ratelimit import (
    Charge,
    Rate,
    RateLimit,
    RateLimitMiddleware,
    ResilientLimiter,
    StoreUnavailable,
    by_nothing,
    open_resilient_limiter,
)
from hardpoint.ratelimit.resilient import Breaker
from hardpoint.ratelimit.valkey import ValkeyLimiter, open_valkey_limiter
from hardpoint.valkey import close_client, make_client
from support.asgi import http_scope, logged
from support.servers import ValkeyServer, running_app

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


@contextmanager
def stopped(server: ValkeyServer) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@contextmanager
def killed(server: ValkeyServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def full(server: ValkeyServer) -> Iterator[None]:
    server.command("CONFIG", "SET", "maxmemory", "1")
    yield
    server.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def out_of_clients(server: ValkeyServer) -> Iterator[None]:
    with Redis(port=server.port, single_connection_client=True) as client:
        client.config_set("maxclients", 1)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("maxclients", 1_000)


FAULTS = {"stopped": stopped, "killed": killed, "full": full, "out of clients": out_of_clients}


@asynccontextmanager
async def broken(server: ValkeyServer, limiter: ResilientLimiter, fault: str) -> AsyncIterator[None]:
    """Inside the store is away and the limiter knows; afterwards both are back."""
    manager = FAULTS[fault](server)
    async with asyncio.timeout(60):
        await asyncio.to_thread(manager.__enter__)
        while not limiter.breaker.is_open:
            await asyncio.sleep(0.01)
        yield
        await asyncio.to_thread(manager.__exit__, None, None, None)
        await closed(limiter)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_store_goes_away_and_comes_back_under_load(
    server: ValkeyServer, limiter: ResilientLimiter, fault: str
) -> None:
    done = asyncio.Event()
    with logged() as records:
        async with asyncio.TaskGroup() as group:
            load = group.create_task(under_load(limiter, done))
            await asyncio.sleep(0.1)
            async with broken(server, limiter, fault):
                # Meanwhile this process counts by itself.
                allowed = [(await limiter.hit(Charge(STRICT, "meanwhile"))).allowed for _ in range(10)]
                assert allowed == [True] * 5 + [False] * 5
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


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_service_under_load_answers_every_request_while_the_store_comes_and_goes(
    server: ValkeyServer, limiter: ResilientLimiter, fault: str
) -> None:
    app = FastAPI(middleware=[Middleware(RateLimitMiddleware, limits=[RateLimit(RATE)], limiter=limiter)])
    install_error_handlers(app)
    strict = RateLimit("30/day", name="strict", key=by_nothing)

    @app.get("/", dependencies=[Depends(strict)])
    async def root() -> str:
        return "ok"

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"limiter": limiter}}, receive, send)

    answers: list[httpx2.Response] = []
    done = asyncio.Event()

    async def visit(client: httpx2.AsyncClient) -> None:
        while not done.is_set():
            answers.append(await client.get("/"))

    async with (
        running_app(with_state, lifespan="off") as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(20):
            group.create_task(visit(client))
        await asyncio.sleep(0.1)
        async with broken(server, limiter, fault):
            pass
        done.set()
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all("ratelimit" in answer.headers for answer in answers)
    # Once from the store, and once more from this process alone; a store that was killed has forgotten.
    stored = 2 if fault == "killed" else 1
    assert sum(answer.status_code == 200 for answer in answers) <= 30 * (stored + 1)


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


def says(answer: bytes) -> Answering:
    async def always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer)

    return always


ODD_STORES = {
    "silent": says_nothing,
    "hangs up": hangs_up,
    "no Valkey at all": says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "zeros": says(b"\0" * 1000),
    "OK to everything": says(b"+OK\r\n" * 4),
    "an error": says(b"-ERR no\r\n" * 4),
    "no permission": says(b"-NOPERM this user has no permissions\r\n" * 4),
    "never the script": says(b"-NOSCRIPT No matching script\r\n" * 4),
    "a longer list": says(b"*3\r\n:0\r\n:0\r\n:0\r\n" * 4),
    "a list of texts": says(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n" * 4),
    "half an answer": says(b"*2\r\n:0\r\n"),
}


@asynccontextmanager
async def listening(answering: Answering) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await answering(reader, writer)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        yield f"valkey://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize("odd", ODD_STORES)
async def test_whatever_answers_instead_of_the_store_the_limits_go_on(odd: str) -> None:
    async with (
        listening(ODD_STORES[odd]) as url,
        open_valkey_limiter(url, timeout_seconds=0.05) as store,
        open_resilient_limiter(store) as limiter,
    ):
        charges = (Charge(STRICT, "key"), Charge(RATE, "key"))
        decisions = await asyncio.gather(*[limiter.hit(*charges) for _ in range(10)])
        assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 5
        assert limiter.breaker.is_open
        assert limiter.breaker.outages == 1
        with pytest.raises(StoreUnavailable):
            await store.hit(*charges)
        # It is asked again and again, and believed no more.
        await asyncio.sleep(0.7)
        assert limiter.breaker.is_open


@asynccontextmanager
async def through(server: ValkeyServer, pass_on: Callable[[], Awaitable[None]]) -> AsyncIterator[str]:
    """The same store, each of whose answers waits for `pass_on`."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def answers() -> None:
            while answer := await store_reader.read(65_536):
                await pass_on()
                writer.write(answer)

        task = asyncio.create_task(answers())
        while asked := await reader.read(65_536):
            store_writer.write(asked)
        store_writer.close()
        task.cancel()

    async with listening(forward) as url:
        yield url


async def test_a_store_that_is_far_away_is_asked_again_before_it_has_answered(server: ValkeyServer) -> None:
    answers = asyncio.Event()
    answers.set()

    def asked() -> int:
        return int(server.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"])

    async with through(server, answers.wait) as url, open_valkey_limiter(url, timeout_seconds=30) as store:
        await store.hit(Charge(RATE, "warm"))
        answers.clear()
        before, waiting = asked(), []
        for place in range(1, 6):
            waiting.append(asyncio.create_task(store.hit(Charge(STRICT, "key"))))
            while asked() < before + place:
                await asyncio.sleep(0.01)
        answers.set()
        decisions = await asyncio.gather(*waiting)
    assert [decision.remaining for decision in decisions] == [4, 3, 2, 1, 0]


async def test_a_store_that_is_too_far_away_is_away(server: ValkeyServer) -> None:
    async def slowly() -> None:
        await asyncio.sleep(0.3)

    async with (
        through(server, slowly) as url,
        open_valkey_limiter(url, timeout_seconds=0.1) as store,
        open_resilient_limiter(store) as limiter,
    ):
        assert (await limiter.hit(Charge(STRICT, "key"))).allowed
        assert limiter.breaker.is_open


async def test_a_loop_that_was_blocked_does_not_blame_the_store(server: ValkeyServer) -> None:
    async with open_valkey_limiter(server.url, timeout_seconds=0.1) as store:
        for _ in range(5):
            task = asyncio.create_task(store.hit(Charge(RATE, "key")))
            # It has been sent, and the answer comes while nobody looks.
            for _ in range(3):
                await asyncio.sleep(0)
            time.sleep(0.2)  # noqa: ASYNC251 - that is what blocks it.
            assert (await task).allowed


async def test_a_connection_that_the_server_closes_while_idle_is_no_outage(server: ValkeyServer) -> None:
    async with open_valkey_limiter(server.url, timeout_seconds=10) as store:
        for expected in (4, 3, 2):
            assert (await store.hit(Charge(STRICT, "key"))).remaining == expected
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.05)
    assert server.command("CLIENT", "LIST").count(b"\n") <= 1


async def test_whoever_still_waits_at_the_end_is_told(server: ValkeyServer) -> None:
    async with open_resilient_limiter_of(server) as (store, limiter):
        server.signal(signal.SIGSTOP)
        waiting = [
            asyncio.create_task(call) for call in (store.hit(Charge(STRICT, "a")), limiter.hit(Charge(RATE, "b")))
        ]
        await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        await waiting[0]
    # With a fallback it is an answer like any other, and so is what comes after the end.
    assert (await waiting[1]).allowed
    assert (await limiter.hit(Charge(RATE, "b"))).allowed
    with pytest.raises(StoreUnavailable):
        await store.hit(Charge(STRICT, "a"))


@asynccontextmanager
async def open_resilient_limiter_of(server: ValkeyServer) -> AsyncIterator[tuple[ValkeyLimiter, ResilientLimiter]]:
    async with open_valkey_limiter(server.url, timeout_seconds=10) as store, open_resilient_limiter(store) as limiter:
        yield store, limiter


async def test_what_a_caller_does_wrong_is_not_the_stores_fault(
    server: ValkeyServer, limiter: ResilientLimiter
) -> None:
    connection = HTTPConnection(http_scope())
    with pytest.raises(TypeError, match="must be a text"):
        await RateLimit("9/hour", key=lambda connection: 7).check(connection, limiter=limiter)
    with pytest.raises(ValueError, match="at least one"):
        await limiter.hit()
    assert not limiter.breaker.is_open


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


async def test_a_charge_may_need_the_store(server: ValkeyServer, limiter: ResilientLimiter) -> None:
    strict = Charge(STRICT, "key", needs_store=True)
    assert (await limiter.hit(strict)).remaining == 4
    server.kill()
    with pytest.raises(ServiceUnavailable) as refused:
        await limiter.hit(Charge(RATE, "key"), strict)
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "1"
    assert limiter.breaker.is_open
    # Others go on.
    assert (await limiter.hit(Charge(STRICT, "key"))).allowed
    server.start()
    await closed(limiter)
    assert (await limiter.hit(strict)).remaining == 4


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
            raise StoreUnavailable

    breaker = Breaker(probe, sleep=sleep)
    task = asyncio.create_task(breaker.run())
    breaker.open(StoreUnavailable())
    breaker.open(StoreUnavailable())
    while breaker.is_open:
        await asyncio.sleep(0)
    assert (breaker.outages, probes, slept) == (1, 4, [0.5] * 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_connection_that_cannot_be_closed_in_time_does_not_end_the_limiter(server: ValkeyServer) -> None:
    client = make_client(server.url, timeout_seconds=None)
    store = ValkeyLimiter(client, timeout_seconds=0.2)
    async with running(store.run()):
        assert (await store.hit(Charge(STRICT, "key"))).allowed
        (connection,) = client.connection_pool._in_use_connections
        # As on a busy machine, where the library's own time for closing passes as well.
        connection.socket_connect_timeout = 1e-9
        server.signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable):
            await store.hit(Charge(STRICT, "key"))
        server.signal(signal.SIGCONT)
        while connection.is_connected:
            await asyncio.sleep(0.01)
        connection.socket_connect_timeout = 1.0
        # What was asked of the stopped one may have been done; its late answer is not taken for another's.
        assert (await store.hit(Charge(RATE, "other"))).remaining == 999_999
    await close_client(client)


async def test_a_pool_that_others_have_used_up_is_a_store_that_is_away_until_they_give_it_back(
    server: ValkeyServer,
) -> None:
    client = make_client(server.url, max_connections=1, pool_timeout_seconds=0.05, timeout_seconds=None)
    store = ValkeyLimiter(client, timeout_seconds=5)
    held = await client.connection_pool.get_connection()
    async with running(store.run()), open_resilient_limiter(store) as limiter:
        decisions = await asyncio.gather(*[limiter.hit(Charge(STRICT, "meanwhile")) for _ in range(20)])
        assert sum(decision.allowed for decision in decisions) == STRICT.limit
        assert limiter.breaker.is_open
        await client.connection_pool.release(held)
        async with asyncio.timeout(60):
            await closed(limiter)
        # From the store again, whose buckets know nothing of what was counted here.
        assert [(await limiter.hit(Charge(STRICT, "meanwhile"))).remaining for _ in range(2)] == [4, 3]
    await close_client(client)
