"""What both stores promise."""

import asyncio
import time
from pathlib import Path

import pytest

from hardpoint.broadcast import MemoryBroadcast
from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.errors import ServiceUnavailable
from hardpoint.realtime import ChannelStore, Entry, History, MemoryChannels, Missed
from hardpoint.realtime.messages import MAX_OFFSET
from hardpoint.realtime.valkey import open_valkey_channels
from realtime.conftest import OpenStore
from support.servers import ValkeyServer

pytestmark = pytest.mark.anyio

KEPT = History(count=5, seconds=60)


async def published(store: ChannelStore, channel: str, *data: bytes, history: History = KEPT) -> list[int]:
    return [await store.publish(channel, item, history=history) for item in data]


async def until(condition: object) -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator] # any condition
            await asyncio.sleep(0.01)


async def test_offsets_grow_by_one_from_the_time_of_the_first(store: ChannelStore) -> None:
    offsets = await published(store, "c", b"1", b"2", b"3")
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    assert abs(offsets[0] - time.time() * 1_000_000) < 60_000_000
    assert offsets[-1] < MAX_OFFSET


async def test_what_came_after_an_offset_is_read_in_order(store: ChannelStore) -> None:
    first, second, third = await published(store, "c", b'"a"', b'"b"', b'"c"')
    missed = await store.read("c", first)
    assert missed.recovered
    assert missed.end == third
    assert missed.entries == [Entry(second, b'"b"'), Entry(third, b'"c"')]
    assert (await store.read("c", first - 1)).entries[0] == Entry(first, b'"a"')
    assert await store.read("c", third) == (True, third, [])


async def test_the_end_alone(store: ChannelStore) -> None:
    (offset,) = await published(store, "c", b"1")
    assert await store.read("c", None) == (False, offset, [])


async def test_an_empty_channel_has_an_end_that_holds(store: ChannelStore) -> None:
    end = (await store.read("c", None)).end
    assert await store.read("c", end) == (True, end, [])
    assert await published(store, "c", b"1") == [end + 1]
    assert await store.read("c", end) == (True, end + 1, [Entry(end + 1, b"1")])


@pytest.mark.parametrize("since", ["before", "after", "zero", "largest"])
async def test_what_is_not_kept_is_not_recovered(store: ChannelStore, since: str) -> None:
    offsets = await published(store, "c", *(b"%d" % number for number in range(8)))
    place = {"before": offsets[1], "after": offsets[-1] + 1, "zero": 0, "largest": MAX_OFFSET}[since]
    assert await store.read("c", place) == (False, offsets[-1], [])


async def test_the_history_is_bounded_by_count(store: ChannelStore) -> None:
    offsets = await published(store, "c", *(b"%d" % number for number in range(8)))
    assert [entry.data for entry in (await store.read("c", offsets[2])).entries] == [b"3", b"4", b"5", b"6", b"7"]
    assert not (await store.read("c", offsets[1])).recovered


async def test_a_channel_without_a_history_recovers_who_missed_nothing(store: ChannelStore) -> None:
    first, second = await published(store, "c", b"1", b"2", history=History(count=0))
    assert (await store.read("c", second)).recovered
    assert not (await store.read("c", first)).recovered


async def test_the_history_is_bounded_by_age() -> None:
    now = 1_000.0
    store = MemoryChannels(clock=lambda: now)
    (first,) = await published(store, "c", b"old")
    now += 61
    (second,) = await published(store, "c", b"new")
    assert (await store.read("c", first)).entries == [Entry(second, b"new")]
    assert not (await store.read("c", first - 1)).recovered
    now += 61
    # Nothing has been published since, and what is too old is not kept all the same.
    assert not (await store.read("c", first)).recovered
    assert await store.read("c", second) == (True, second, [])


async def test_the_history_is_bounded_by_age_on_valkey(valkey: ValkeyServer, valkey_store: ChannelStore) -> None:
    brief = History(count=100, seconds=1)
    (first,) = await published(valkey_store, "c", b"old", history=brief)
    for _ in range(5):
        await asyncio.sleep(0.5)
        (last,) = await published(valkey_store, "c", b"new", history=brief)
    assert not (await valkey_store.read("c", first - 1)).recovered
    assert (await valkey_store.read("c", last - 1)).entries == [Entry(last, b"new")]
    # Everything aged out is gone, the place in the channel is not.
    await until(lambda: valkey.command("EXISTS", "hardpoint:channel:{c}:history") == 0)
    assert await valkey_store.read("c", last) == (True, last, [])
    assert not (await valkey_store.read("c", first)).recovered


async def test_a_key_makes_one_message_of_many(store: ChannelStore) -> None:
    first = await store.publish("c", b"1", history=KEPT, key="k")
    assert await store.publish("c", b"2", history=KEPT, key="k") == first
    assert await store.publish("d", b"3", history=KEPT, key="k") != first
    other = await store.publish("c", b"4", history=KEPT, key="l")
    assert other == first + 1
    assert [entry.data for entry in (await store.read("c", first - 1)).entries] == [b"1", b"4"]


async def test_subscribers_hear_what_is_published(open_store: OpenStore) -> None:
    async with open_store() as here, open_store() as there:
        heard: list[Entry] = []
        also: list[Entry] = []
        await here.subscribe("c", heard.append)
        await there.subscribe("c", also.append)
        await there.subscribe("d", also.append)
        offsets = await published(there, "c", "ä".encode(), b"2")
        await until(lambda: len(heard) == len(also) == 2)
        assert heard == also == [Entry(offsets[0], "ä".encode()), Entry(offsets[1], b"2")]
        await here.unsubscribe("c", heard.append)
        await here.unsubscribe("c", heard.append)
        await published(here, "c", b"3")
        await until(lambda: len(also) == 3)
        assert len(heard) == 2


async def test_who_is_present_in_every_process(open_store: OpenStore) -> None:
    async with open_store() as here, open_store() as there:
        await here.enter([("c", "1"), ("c", "2"), ("d", "3")])
        await there.enter([("c", "2 with spaces")])
        assert await here.present("c") == await there.present("c") == ["1", "2", "2 with spaces"]
        await here.leave("c", "1")
        await here.leave("c", "1")
        assert await there.present("c") == ["2", "2 with spaces"]
        assert await here.present("nobody") == []


async def test_a_store_that_lost_its_memory_never_gives_an_offset_twice(
    valkey: ValkeyServer, valkey_store: ChannelStore
) -> None:
    *_, last = await published(valkey_store, "c", b"1", b"2")
    valkey.command("FLUSHALL")
    assert not (await valkey_store.read("c", last)).recovered
    (again,) = await published(valkey_store, "c", b"3")
    assert again > last


async def test_a_killed_process_is_not_present_for_long(valkey: ValkeyServer, valkey_store: ChannelStore) -> None:
    await valkey_store.enter([("c", "1")])
    (member,) = valkey.command("ZRANGE", "hardpoint:channel:{c}:present", "0", "-1")
    valkey.command("ZADD", "hardpoint:channel:{c}:present", str(time.time() - 1), member.decode())
    assert await valkey_store.present("c") == []
    # Others go on to be present, and take it away.
    await valkey_store.enter([("c", str(number)) for number in range(2, 1_002)])
    assert valkey.command("ZCARD", "hardpoint:channel:{c}:present") == 1_000
    assert len(await valkey_store.present("c")) == 1_000
    assert 0 < valkey.command("TTL", "hardpoint:channel:{c}:present") <= 60


async def test_a_store_that_is_away_says_so() -> None:
    server = ValkeyServer()
    server.start()
    try:
        async with open_valkey_channels(server.url, MemoryBroadcast()) as store:
            await store.publish("c", b"1", history=KEPT)
            server.kill()
            for refused in (
                store.publish("c", b"2", history=KEPT),
                store.read("c", None),
                store.enter([("c", "1")]),
                store.leave("c", "1"),
                store.present("c"),
            ):
                with pytest.raises(ServiceUnavailable):
                    await refused
    finally:
        server.kill()


async def test_memory_is_bounded() -> None:
    store = MemoryChannels(max_channels=10, max_keys=3)
    heard: list[Entry] = []
    await store.subscribe("listened", heard.append)
    await published(store, "listened", b"1")
    for number in range(50):
        await published(store, f"c{number}", b"1")
    assert not (await store.read("c0", 1)).recovered
    end = (await store.read("c49", None)).end
    assert (await store.read("c49", end - 1)).recovered
    # The one that somebody listens to keeps its place.
    assert heard[0].offset + 1 == (await published(store, "listened", b"2"))[0]
    for key in "abcd":
        await store.publish("k", b"1", history=KEPT, key=key)
    before = (await store.read("k", None)).end
    assert await store.publish("k", b"1", history=KEPT, key="d") == before
    assert await store.publish("k", b"1", history=KEPT, key="a") == before + 1


@pytest.mark.parametrize(("count", "seconds"), [(-1, 1.0), (100_001, 1.0), (1, 0.0)])
def test_a_history_has_bounds(count: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="history keeps"):
        History(count=count, seconds=seconds)


@pytest.mark.parametrize("may_roll_back", [True, False])
async def test_a_store_that_has_lost_its_last_moments_says_so(tmp_path: Path, may_roll_back: bool) -> None:
    with ValkeyServer.started("--dir", str(tmp_path)) as server:

        async def publish(*data: bytes) -> list[int]:
            # Each time as another process, which knows nothing of before.
            async with open_valkey_channels(server.url, MemoryBroadcast(), may_roll_back=may_roll_back) as store:
                return await published(store, "c", *data)

        async def read(since: int) -> Missed:
            async with open_valkey_channels(server.url, MemoryBroadcast(), may_roll_back=may_roll_back) as store:
                return await store.read("c", since)

        first, second = await publish(b"1", b"2")
        server.command("SAVE")
        (lost,) = await publish(b"lost")
        assert (await read(second)).entries == [Entry(lost, b"lost")]
        server.kill()
        server.start()
        (again, last) = await publish(b"3", b"4")
        missed = [await read(since) for since in (first, second, lost)]
    if may_roll_back:
        assert again > lost
        assert [(one.recovered, one.end) for one in missed] == [(False, last)] * 3
    else:
        # What it is for: another message has the place of the lost one, and nobody could tell.
        assert again == lost
        assert missed[2] == Missed(recovered=True, end=last, entries=[Entry(last, b"4")])


async def test_who_was_cancelled_while_subscribing_and_tries_again_is_subscribed_once(valkey: ValkeyServer) -> None:
    async with open_valkey_broadcast(valkey.url) as broadcast, open_valkey_channels(valkey.url, broadcast) as store:
        await until(lambda: broadcast.connected)
        heard: list[Entry] = []
        receiver = heard.append
        first = asyncio.create_task(store.subscribe("c", receiver))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        await store.subscribe("c", receiver)
        await published(store, "c", b"1", b"2")
        await until(lambda: heard and heard[-1].data == b"2")
        assert [entry.data for entry in heard] == [b"1", b"2"]
        await store.unsubscribe("c", receiver)
        await until(lambda: valkey.command("PUBSUB", "NUMSUB", "hardpoint:ch:c")[1] == 0)


async def test_a_history_that_is_no_longer_kept_recovers_nobody(store: ChannelStore) -> None:
    (first,) = await published(store, "c", b"1")
    _, last = await published(store, "c", b"2", b"3", history=History(count=0))
    assert await store.read("c", first) == (False, last, [])
    assert await published(store, "c", b"4") == [last + 1]
    assert (await store.read("c", last)).entries == [Entry(last + 1, b"4")]
    assert not (await store.read("c", first)).recovered
