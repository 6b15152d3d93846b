"""One suite for both broadcasts, and what only a store can do: go away and come back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from hardpoint.broadcast import Broadcast, MemoryBroadcast
from hardpoint.broadcast.valkey import ValkeyBroadcast, open_valkey_broadcast
from support.asgi import logged
from support.servers import ValkeyServer

Opener = Callable[[], AbstractAsyncContextManager[Broadcast]]


@pytest.fixture(params=["memory", "valkey"])
def open_broadcast(request: pytest.FixtureRequest) -> Opener:
    if request.param == "memory":
        shared = MemoryBroadcast()
        return lambda: nullcontext(shared)
    server: ValkeyServer = request.getfixturevalue("valkey")
    return lambda: open_valkey_broadcast(server.url)


@pytest.fixture
async def broadcast(open_broadcast: Opener) -> AsyncIterator[Broadcast]:
    async with open_broadcast() as broadcast:
        yield broadcast


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_every_receiver_hears_every_message_in_order(open_broadcast: Opener) -> None:
    async with open_broadcast() as one, open_broadcast() as two:
        heard: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
        await one.subscribe("news", heard["a"].append)
        await one.subscribe("news", heard["b"].append)
        await two.subscribe("news", heard["c"].append)
        messages = [str(number).encode() for number in range(100)]
        for message in messages:
            await two.publish("news", message)
        await until(lambda: all(len(received) == 100 for received in heard.values()))
        assert list(heard.values()) == [messages] * 3


async def test_a_channel_is_heard_by_its_receivers_alone_and_no_longer_than_they_want(broadcast: Broadcast) -> None:
    here: list[bytes] = []
    there: list[bytes] = []
    await broadcast.subscribe("here", here.append)
    await broadcast.subscribe("there", there.append)
    await broadcast.publish("here", b"1")
    await broadcast.publish("nowhere", b"2")
    await until(lambda: here == [b"1"])
    await broadcast.unsubscribe("here", here.append)
    await broadcast.unsubscribe("here", here.append)
    await broadcast.publish("here", b"3")
    await broadcast.publish("there", b"4")
    await until(lambda: there == [b"4"])
    assert here == [b"1"]
    await broadcast.subscribe("here", here.append)
    await broadcast.publish("here", b"5")
    await until(lambda: here == [b"1", b"5"])


async def test_a_receiver_may_unsubscribe_while_it_is_called(broadcast: Broadcast) -> None:
    heard: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    def once(message: bytes) -> None:
        heard.append(message)
        tasks.append(asyncio.create_task(broadcast.unsubscribe("news", once)))

    await broadcast.subscribe("news", once)
    await broadcast.subscribe("news", heard.append)
    await broadcast.publish("news", b"1")
    await until(lambda: len(heard) == 2)
    await asyncio.gather(*tasks)
    await broadcast.publish("news", b"2")
    await until(lambda: heard == [b"1", b"1", b"2"])


@pytest.mark.parametrize("message", [b"", b"\x00\xff", "é".encode(), b"x" * 1_000_000])
async def test_any_bytes_are_a_message(broadcast: Broadcast, message: bytes) -> None:
    heard: list[bytes] = []
    await broadcast.subscribe("any channel:{é}", heard.append)
    await broadcast.publish("any channel:{é}", message)
    await until(lambda: heard == [message])


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer.started() as server:
        yield server


@pytest.mark.parametrize("fault", ["killed", "stopped", "thrown out"])
async def test_a_lost_connection_comes_back_with_its_subscriptions_and_says_so(
    server: ValkeyServer, fault: str
) -> None:
    async with open_valkey_broadcast(server.url, silence_seconds=0.2) as broadcast:
        heard: list[bytes] = []
        gaps: list[bool] = []
        await until(lambda: broadcast.connected)
        broadcast.on_gap(lambda: gaps.append(broadcast.connected))
        await broadcast.subscribe("news", heard.append)
        if fault == "killed":
            await asyncio.to_thread(server.kill)
        elif fault == "stopped":
            server.signal(signal.SIGSTOP)
        else:
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: len(gaps) >= 1)
        assert gaps[0] is False
        if fault == "killed":
            await asyncio.to_thread(server.start)
        elif fault == "stopped":
            server.signal(signal.SIGCONT)
        await until(lambda: broadcast.connected)
        assert gaps[-1] is True
        await until_heard(broadcast, heard)


async def until_heard(broadcast: ValkeyBroadcast, heard: list[bytes]) -> None:
    async with asyncio.timeout(20):
        while not heard:
            await broadcast.publish("news", b"back")
            await asyncio.sleep(0.05)


async def test_who_subscribes_while_the_store_is_away_hears_when_it_is_back() -> None:
    server = ValkeyServer()
    try:
        async with open_valkey_broadcast(server.url) as broadcast:
            heard: list[bytes] = []
            await broadcast.subscribe("news", heard.append)
            assert not broadcast.connected
            await asyncio.to_thread(server.start)
            await until_heard(broadcast, heard)
    finally:
        server.kill()


async def test_a_subscription_is_not_confirmed_by_an_earlier_ones_answer(server: ValkeyServer) -> None:
    async with open_valkey_broadcast(server.url) as broadcast:
        heard: list[bytes] = []
        confirmed: list[bool] = []
        confirm = broadcast._confirm

        async def watched(channel: str) -> None:
            await confirm(channel)
            confirmed.append(broadcast._confirmed[channel].is_set())

        await until(lambda: broadcast.connected)
        broadcast._confirm = watched  # type: ignore[method-assign] # looks, and changes nothing
        # What is asked meanwhile is answered together: subscribed, no more, and again.
        server.signal(signal.SIGSTOP)
        first = asyncio.create_task(broadcast.subscribe("news", heard.append))
        await asyncio.sleep(0)
        await broadcast.unsubscribe("news", heard.append)
        second = asyncio.create_task(broadcast.subscribe("news", heard.append))
        await asyncio.sleep(0)
        server.signal(signal.SIGCONT)
        await asyncio.gather(first, second)
        assert confirmed == [False, True]
        await broadcast.publish("news", b"1")
        await until(lambda: heard == [b"1"])


async def test_a_process_is_subscribed_to_what_it_listens_to_alone(valkey: ValkeyServer) -> None:
    async with open_valkey_broadcast(valkey.url) as broadcast:
        receivers: list[list[bytes]] = [[] for _ in range(3)]
        for number, receiver in enumerate(receivers):
            await broadcast.subscribe(f"channel:{number % 2}", receiver.append)
        channels = {name.decode() for name in valkey.command("PUBSUB", "CHANNELS")}
        assert channels == {"hardpoint:alive", "hardpoint:channel:0", "hardpoint:channel:1"}
        for number, receiver in enumerate(receivers):
            await broadcast.unsubscribe(f"channel:{number % 2}", receiver.append)
        await until(lambda: [name.decode() for name in valkey.command("PUBSUB", "CHANNELS")] == ["hardpoint:alive"])


async def test_a_receiver_that_fails_is_logged_and_disturbs_nobody(broadcast: Broadcast) -> None:
    heard: list[bytes] = []

    def fail(message: bytes) -> None:
        raise ValueError(message)

    await broadcast.subscribe("news", fail)
    await broadcast.subscribe("news", heard.append)
    with logged("hardpoint.broadcast") as records:
        for message in (b"1", b"2"):
            await broadcast.publish("news", message)
        await until(lambda: heard == [b"1", b"2"])
    assert records.fields("broadcast_receiver_failed") == [{"channel": "news"}] * 2
