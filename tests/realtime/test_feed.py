"""A channel in one process: in order, without gaps or repeats, whatever the store's messages do on their way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.errors import ServiceUnavailable
from hardpoint.realtime import Entry, Missed
from hardpoint.realtime.feed import Feed, Subscription

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
        self.told: list[tuple[int, bool]] = []
        self.has_overflowed = False

    def put(self, channel: str, offset: int, text: str) -> None:
        assert channel == "c"
        if '"type":"message"' in text:
            assert f'"offset":{offset},"data":{offset}' in text
            self.offsets.append(offset)
        else:
            self.told.append((offset, '"recovered":true' in text))

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
        await self.feed.ready()
        missed = await self.log.read("c", since)
        offset = since if since is not None and missed.recovered else missed.end
        await subscription.catch_up(offset, missed.entries, recovered=missed.recovered)
        return subscription

    async def settled(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks)


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
    assert bench.reader.offsets[-1] == end + 1


async def test_a_lost_memory_is_told_when_the_connection_is_back() -> None:
    bench = Bench()
    await bench.join(bench.reader)
    bench.log.lose_everything()
    bench.feed.catch_up()
    await bench.settled()
    assert bench.reader.told[-1] == (bench.log.end, False)


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
