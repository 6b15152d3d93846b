"""Who is in a channel: two instances, each with a hub and sockets of its own, on one store."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from hardpoint.errors import ServiceUnavailable
from hardpoint.realtime import MemoryChannels
from hardpoint.realtime.presence import Presence
from realtime.serving import Bench, serving
from support.live import live

pytestmark = pytest.mark.anyio


async def until_present(bench: Bench, expected: list[str]) -> None:
    async with asyncio.timeout(30):
        while await bench.hub.presence("staff") != expected:
            await asyncio.sleep(0.01)


async def test_every_instance_knows_who_is_at_any(instances: list[Bench]) -> None:
    here, there = instances
    for bench in instances:
        bench.users.rights_of.update(dict.fromkeys("abc", "editor"))
    async with live(here.url, "/ws?token=1/a") as one, live(there.url, "/ws?token=2/b") as two:
        async with live(there.url, "/ws?token=1/c") as again:
            for client in (one, two, again):
                assert (await client.subscribe("staff"))["type"] == "subscribed"
            assert await here.hub.presence("staff") == await there.hub.presence("staff") == ["1", "2"]
        await there.until(lambda: there.hub.connections == 1)
        await until_present(here, ["1", "2"])
        await one.ask(type="unsubscribe", channel="staff")
        await until_present(there, ["2"])
        await one.subscribe("staff")
        assert await there.hub.presence("staff") == ["1", "2"]
        here.users.rights_of["a"] = "user"
        await until_present(there, ["2"])
    await until_present(here, [])


async def test_what_is_published_at_one_instance_arrives_at_the_other(instances: list[Bench]) -> None:
    here, there = instances
    async with live(here.url, "/ws?token=1/a") as one, live(there.url, "/ws?token=1/b") as two:
        for client in (one, two):
            await client.subscribe("user")
        for number in range(50):
            await instances[number % 2].hub.send_to_user(1, number)
        received = [await one.data(50), await two.data(50)]
        assert received[0] == received[1]
        assert sorted(received[0]) == list(range(50))


class Late(MemoryChannels):
    """A store that is told when the test says, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.enters = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def enter(self, members: Collection[tuple[str, str]]) -> None:
        self.enters.set()
        await self.goes_on.wait()
        if self.is_away:
            raise ServiceUnavailable
        await super().enter(members)

    async def leave(self, channel: str, member: str) -> None:
        if self.is_away:
            raise ServiceUnavailable
        await super().leave(channel, member)


async def test_who_leaves_while_the_store_is_told_that_they_come_is_not_there() -> None:
    store = Late()
    async with asyncio.TaskGroup() as group:
        spawned: list[asyncio.Task[Any]] = []
        presence = Presence(store, lambda work: spawned.append(group.create_task(work)))
        store.goes_on.clear()
        presence.arrive("c", 1)
        telling = group.create_task(presence.tell("c", 1))
        await store.enters.wait()
        presence.leave("c", 1)
        await asyncio.gather(*spawned)
        store.goes_on.set()
        await telling
        assert await store.present("c") == []
        # And the other way round.
        presence.arrive("c", 1)
        await presence.tell("c", 1)
        presence.leave("c", 1)
        presence.arrive("c", 1)
        await asyncio.gather(*spawned)
        assert await store.present("c") == ["1"]


async def test_a_store_that_is_away_refuses_nobody_and_is_told_later() -> None:
    store = Late()
    async with serving(store=store) as bench, live(bench.url, "/ws?token=1/a") as client:
        bench.users.rights_of["a"] = "editor"
        (peer,) = bench.hub.peers
        await bench.until(lambda: peer.identity.rights == "editor")
        store.is_away = True
        assert (await client.subscribe("staff"))["type"] == "subscribed"
        assert await bench.hub.presence("staff") == []
        store.is_away = False
        await bench.hub.presences.refresh()
        assert await bench.hub.presence("staff") == ["1"]
        store.is_away = True
        assert (await client.ask(type="unsubscribe", channel="staff"))["type"] == "unsubscribed"
