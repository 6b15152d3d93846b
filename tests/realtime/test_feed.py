"""A channel in one process: in order, without gaps or repeats, whatever the store's messages do on their way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.errors import ServiceUnavailable
from hardpoint.realtime import Entry, Missed, feed, subscription
from hardpoint.realtime.feed import Feed
from hardpoint.realtime.frames import Frames
from hardpoint.realtime.subscription import Subscription

START = 1_000


class Log:
    """A store whose messages arrive when, and as often as, the test says."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.end = START
        self.kept_from = START
        self.refusals = 0
        self.reads = 0

    def append(self) -> Entry:
        self.end += 1
        entry = Entry(self.end, str(self.end).encode())
        self.entries.append(entry)
        return entry

    def lose_everything(self) -> None:
        self.entries = []
        self.end = self.kept_from = self.end + 1_000

    async def read(self, channel: str, since: int | None) -> Missed:
        assert channel == "c"
        self.reads += 1
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise ServiceUnavailable
        if since is None or not self.kept_from <= since <= self.end:
            return Missed(recovered=False, end=self.end, entries=[])
        return Missed(recovered=True, end=self.end, entries=[entry for entry in self.entries if entry.offset > since])

    async def subscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None: ...

    async def unsubscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None: ...


class Reader:
    """A listener that keeps what it gets."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.events: list[tuple[str, int]] = []
        self.passes = 0
        self.told: list[tuple[int, bool]] = []
        self.has_overflowed = False

    def put(self, channel: str, frames: Frames) -> None:
        assert channel == "c"
        self.passes += 1
        for offset, text in zip(frames.offsets, frames.texts, strict=True):
            if '"type":"message"' in text:
                assert f'"offset":{offset},"data":{offset}' in text
                self.offsets.append(offset)
                self.events.append(("message", offset))
            else:
                self.events.append(("told", offset))
                self.told.append((offset, '"recovered":true' in text))

    def place_without_gaps(self) -> int | None:
        place = None
        for kind, offset in self.events:
            if kind == "message":
                assert place is not None
                assert offset == place + 1
            place = offset
        return place

    async def flushed(self) -> None:
        await asyncio.sleep(0)

    def overflowed(self) -> None:
        self.has_overflowed = True


class Bench:
    """A feed over a log, with a reader from its beginning."""

    def __init__(self) -> None:
        self.log = Log()
        self.tasks: set[asyncio.Task[None]] = set()
        store: Any = self.log
        self.feed = Feed("c", store, self.spawn)
        self.reader = Reader()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def join(self, reader: Reader, since: int | None = None, max_held: int = 100) -> Subscription:
        subscription = Subscription("c", reader, max_held=max_held)
        self.feed.subscriptions[subscription] = None
        missed = await self.feed.missed(since)
        offset = since if since is not None and missed.recovered else missed.end
        await subscription.catch_up(offset, missed.entries, recovered=missed.recovered)
        return subscription

    async def settled(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks)
            # What is done already gives no way from Python 3.14 on, and is in the set until the loop has come round.
            await asyncio.sleep(0)


@given(
    st.lists(st.sampled_from(["publish", "deliver", "repeat", "lose", "swap", "yield", "gap", "join"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_every_reader_gets_everything_once_and_in_order(steps: list[str], random: Any) -> None:
    """Messages are lost, repeated, delayed and reordered on their way; the log keeps all."""

    async def run() -> None:
        bench = Bench()
        await bench.join(bench.reader)
        on_the_way: list[Entry] = []
        joined: list[tuple[int, Reader]] = [(START, bench.reader)]
        joining: list[asyncio.Task[Any]] = []
        for step in steps:
            if step == "publish":
                on_the_way.append(bench.log.append())
            elif step == "swap":
                random.shuffle(on_the_way)
            elif step == "yield":
                await asyncio.sleep(0)
            elif step == "gap":
                bench.feed.catch_up()
            elif step == "join":
                reader = Reader()
                since = random.randint(START, bench.log.end)
                joined.append((since, reader))
                joining.append(asyncio.ensure_future(bench.join(reader, since)))
            elif on_the_way:
                entry = on_the_way[0] if step == "repeat" else on_the_way.pop(0)
                if step != "lose":
                    bench.feed.receive(entry)
        # A last message arrives, or a lost connection is noticed.
        bench.feed.receive(bench.log.append())
        await asyncio.gather(*joining)
        await bench.settled()
        for since, reader in joined:
            assert reader.offsets == list(range(since + 1, bench.log.end + 1))
            assert not reader.has_overflowed

    asyncio.run(run())


@given(
    st.lists(
        st.sampled_from(["publish", "deliver", "drop", "forget", "yield", "gap", "join"]), min_size=10, max_size=80
    ),
    st.randoms(use_true_random=False),
)
def test_no_reader_has_a_gap_that_it_was_not_told_of(steps: list[str], random: Any) -> None:
    """The log loses its memory at any moment; whoever reads knows where they stand, and is there in the end."""

    async def run() -> None:
        bench = Bench()
        readers = [bench.reader]
        await bench.join(bench.reader)
        on_the_way: list[Entry] = []
        joining: list[asyncio.Task[Any]] = []
        for step in steps:
            if step == "publish":
                on_the_way.append(bench.log.append())
            elif step == "forget":
                bench.log.lose_everything()
                # What was on its way in the old life may arrive, or not.
                del on_the_way[random.randint(0, len(on_the_way)) :]
            elif step == "yield":
                await asyncio.sleep(0)
            elif step == "gap":
                bench.feed.catch_up()
            elif step == "join":
                readers.append(Reader())
                since = random.choice([None, random.randint(START, bench.log.end)])
                joining.append(asyncio.ensure_future(bench.join(readers[-1], since)))
            elif on_the_way:
                entry = on_the_way.pop(0)
                if step == "deliver":
                    bench.feed.receive(entry)
        await asyncio.gather(*joining)
        # The connection to a store that lost its memory was lost as well, and is noticed.
        bench.feed.catch_up()
        await bench.settled()
        assert [reader.place_without_gaps() for reader in readers] == [bench.log.end] * len(readers)

    asyncio.run(run())


pytestmark = pytest.mark.anyio


async def test_a_lost_memory_is_told_and_what_came_after_it_arrives() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.feed.receive(bench.log.append())
    bench.log.append()
    bench.log.lose_everything()
    bench.feed.receive(bench.log.append())
    await bench.settled()
    end = bench.log.end
    assert bench.reader.told == [(START, False), (end - 1, False)]
    assert bench.reader.offsets == [START + 1, end]
    bench.feed.receive(bench.log.append())
    await bench.settled()
    assert bench.reader.offsets[-1] == end + 1


async def test_a_lost_memory_is_told_when_the_connection_is_back() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.log.lose_everything()
    bench.feed.catch_up()
    await bench.settled()
    assert bench.reader.told[-1] == (bench.log.end, False)


async def test_what_a_store_has_told_and_lost_again_is_waited_for_by_nobody() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.feed.receive(bench.log.append())
    bench.log.append()
    early = bench.log.append()
    del bench.log.entries[1:]
    bench.log.end -= 2
    bench.feed.receive(early)
    async with asyncio.timeout(10):
        await bench.settled()
    assert bench.reader.told[-1] == (START + 1, False)
    for _ in range(3):
        bench.feed.receive(bench.log.append())
    await bench.settled()
    assert bench.reader.offsets == [START + 1, START + 2, START + 3, START + 4]


async def test_a_store_that_is_away_is_asked_until_it_is_back() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.log.append()
    bench.log.refusals = 3
    bench.feed.catch_up()
    bench.feed.catch_up()
    await bench.settled()
    assert bench.reader.offsets == [START + 1]
    assert bench.log.refusals == 0


async def test_nobody_asks_for_a_channel_that_nobody_listens_to() -> None:
    bench = Bench()
    subscription = await bench.join(bench.reader)
    bench.log.refusals = 1_000_000
    bench.feed.catch_up()
    await asyncio.sleep(0)
    del bench.feed.subscriptions[subscription]
    await bench.settled()
    assert bench.log.refusals > 0


async def test_whoever_comes_while_another_fails_to_open_tries_too() -> None:
    bench = Bench()
    bench.log.refusals = 1
    other = Reader()
    first, second = await asyncio.gather(bench.join(bench.reader), bench.join(other), return_exceptions=True)
    assert isinstance(first, ServiceUnavailable)
    assert isinstance(second, Subscription)


async def test_too_much_news_while_catching_up_overflows() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.feed.receive(bench.log.append())
    slow = Reader()
    joining = asyncio.ensure_future(bench.join(slow, START, max_held=2))
    for _ in range(5):
        await asyncio.sleep(0)
        bench.feed.receive(bench.log.append())
        bench.feed.receive(bench.log.append())
        bench.feed.receive(bench.log.append())
    await joining
    assert slow.has_overflowed
    assert not bench.reader.has_overflowed


async def test_what_comes_before_anybody_was_given_it_is_given_together() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    passes = bench.reader.passes
    for _ in range(50):
        bench.feed.receive(bench.log.append())
    assert bench.reader.offsets == []
    await bench.settled()
    assert bench.reader.offsets == list(range(START + 1, START + 51))
    assert bench.reader.passes == passes + 1


async def test_a_pass_is_no_more_than_a_server_takes_at_once() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    passes = bench.reader.passes
    with patch.object(feed, "PASS_CHARACTERS", 200):
        for _ in range(50):
            bench.feed.receive(bench.log.append())
        await bench.settled()
    assert bench.reader.offsets == list(range(START + 1, START + 51))
    assert bench.reader.passes - passes > 10


async def test_others_have_their_turn_while_many_are_given() -> None:
    bench = Bench()
    readers = [Reader() for _ in range(20)]
    for reader in readers:
        await bench.join(reader)
    turns: list[int] = []

    async def count_turns() -> None:
        while len(turns) < 1_000:
            turns.append(sum(bool(reader.offsets) for reader in readers))
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count_turns())
    with patch.object(feed, "_TURN_SECONDS", 0):
        bench.feed.receive(bench.log.append())
        await bench.settled()
    counting.cancel()
    assert set(turns) >= set(range(1, 20))


async def test_who_leaves_before_their_turn_gets_nothing() -> None:
    bench = Bench()
    first = await bench.join(bench.reader)
    leaver = Reader()
    leaving = await bench.join(leaver)
    bench.feed.receive(bench.log.append())
    leaving.end()
    del bench.feed.subscriptions[leaving]
    await bench.settled()
    assert bench.reader.offsets == [START + 1] == [first.last]
    assert leaver.offsets == []


async def test_who_leaves_while_they_catch_up_gets_no_more() -> None:
    bench = Bench()
    for _ in range(2):
        bench.log.append()
    with patch.object(subscription, "PASS_CHARACTERS", 0):
        joining = asyncio.ensure_future(bench.join(bench.reader, START))
        while not bench.reader.offsets:
            await asyncio.sleep(0)
        (joined,) = bench.feed.subscriptions
        joined.end()
        await joining
    assert bench.reader.offsets == [START + 1]


async def test_a_publisher_waits_for_room_and_no_longer() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    with patch.object(feed, "_MUCH_PENDING", 1_000):
        bench.feed.receive(bench.log.append())
        await bench.feed.room()
        assert bench.reader.offsets == []
        for _ in range(10):
            bench.feed.receive(bench.log.append())
        await bench.feed.room()
        assert bench.reader.offsets
        await bench.settled()
    assert bench.reader.offsets == list(range(START + 1, START + 12))


async def test_more_than_can_be_sent_is_left_in_the_store_and_read_from_there() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    reads = bench.log.reads
    with patch.object(feed, "_MOST_PENDING", 2_000), patch.object(feed, "_MOST_EARLY", 5):
        for _ in range(100):
            bench.feed.receive(bench.log.append())
        assert len(bench.feed._pending) < 10
        assert len(bench.feed._early) == 5
        await bench.settled()
    assert bench.reader.offsets == list(range(START + 1, START + 101))
    assert bench.log.reads > reads


async def test_more_than_is_kept_before_it_is_open_is_read() -> None:
    bench = Bench()
    for _ in range(3):
        bench.log.append()
    with patch.object(feed, "_MOST_EARLY", 2):
        joining = asyncio.ensure_future(bench.join(bench.reader, START))
        await asyncio.sleep(0)
        for _ in range(9):
            bench.feed.receive(bench.log.append())
        await joining
        await bench.settled()
    assert bench.reader.offsets == list(range(START + 1, START + 13))


async def test_those_who_come_back_at_once_do_not_all_ask_the_store() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.feed.receive(bench.log.append())
    await bench.settled()
    reads = bench.log.reads
    bench.log.refusals = 1_000
    since = [None, START + 1]
    readers = [Reader() for _ in range(20)]
    await asyncio.gather(*(bench.join(reader, since[number % 2]) for number, reader in enumerate(readers)))
    assert bench.log.reads == reads
    assert [reader.told for reader in readers] == [[(START + 1, False)], [(START + 1, True)]] * 10
    bench.log.refusals = 0
    bench.feed.receive(bench.log.append())
    await bench.settled()
    assert all(reader.offsets == [START + 2] for reader in readers)


async def test_who_has_seen_more_than_this_process_asks_the_store() -> None:
    """Told by another process, which has heard of it first."""
    bench = Bench()
    await bench.join(bench.reader)
    late = bench.log.append()
    ahead = Reader()
    await bench.join(ahead, START + 1)
    assert ahead.told == [(START + 1, True)]
    bench.feed.receive(late)
    bench.feed.receive(bench.log.append())
    await bench.settled()
    assert ahead.offsets == [START + 2]
    assert bench.reader.offsets == [START + 1, START + 2]
