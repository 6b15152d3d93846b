"""A channel in one process: what the store tells, put in order, without gaps or repeats, and given to who listens."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, Final

from hardpoint.aio import is_wanted
from hardpoint.errors import ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.realtime.frames import Frames
from hardpoint.realtime.messages import encode_message
from hardpoint.realtime.origin import tell_of
from hardpoint.realtime.store import ChannelStore, Entry, Missed
from hardpoint.realtime.subscription import PASS_CHARACTERS, Subscription, told

__all__ = ["Feed"]

logger = get_logger("hardpoint.realtime")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_TURN_SECONDS: Final = 0.002
# In characters, and each message counts as if it had so many more.
_MESSAGE: Final = 256
_MUCH_PENDING: Final = 262_144
_MOST_PENDING: Final = 8_388_608
_MOST_EARLY: Final = 1_024


class Feed:
    """A channel that somebody in this process listens to.

    What the store tells is pending until everybody has been given it, by a task that gives way to others every two
    milliseconds: neither the publisher nor anything else waits while ten thousand are served. What comes in the
    meantime is given together, one pass over the listeners for many messages. When more comes than this process can
    send, it is left in the store and read from there.

    Args:
        channel: The channel's name.
        store: Where its messages come from.
        spawn: Starts work that belongs to the hub.
    """

    __slots__ = (
        "_early",
        "_full",
        "_is_catching_up",
        "_is_giving",
        "_is_subscribed",
        "_last",
        "_missed_meanwhile",
        "_opening",
        "_pending",
        "_pending_size",
        "_spawn",
        "_store",
        "channel",
        "subscriptions",
    )

    def __init__(self, channel: str, store: ChannelStore, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.channel = channel
        self.subscriptions: dict[Subscription, None] = {}
        self._opening = asyncio.Lock()
        self._is_subscribed = False
        self._store = store
        self._spawn = spawn
        self._last: int | None = None
        # Lists, since an empty deque takes more memory than all the rest, and most feeds are one user's own.
        self._early: list[Entry] = []
        self._pending: list[Frames] = []
        self._pending_size = 0
        self._full: asyncio.Event | None = None
        self._is_giving = False
        self._is_catching_up = False
        self._missed_meanwhile = False

    # From the store

    async def ready(self) -> None:
        """Begin to listen, unless that has been done.

        Raises:
            ServiceUnavailable: The store is away.
        """
        if self._last is not None:
            return
        async with self._opening:
            if not self._is_subscribed:
                await self._store.subscribe(self.channel, self.receive)
                self._is_subscribed = True
            # Whoever waited for another's attempt finds it done, or makes one of their own.
            if self._last is None:
                self._last = (await self._store.read(self.channel, None)).end
                self._accept_early()
                if self._missed_meanwhile:
                    self.catch_up()

    async def missed(self, since: int | None) -> Missed:
        """What a listener that has joined gets, before what is new from now on.

        The store is not asked when it begins at the end, or was there until a moment ago: as most of those do who all
        come back at once.

        Raises:
            ServiceUnavailable: The store is away.
        """
        await self.ready()
        assert self._last is not None  # noqa: S101 - narrows the type; the feed is open.
        if since is None or since == self._last:
            return Missed(recovered=since is not None, end=self._last, entries=[])
        return await self._store.read(self.channel, since)

    async def close(self) -> None:
        """Listen no more."""
        await self._store.unsubscribe(self.channel, self.receive)

    def receive(self, entry: Entry) -> None:
        """A message from the store."""
        if self._last is None or self._is_catching_up:
            self._keep_early(entry)
        elif entry.offset > self._last + 1 or self._pending_size >= _MOST_PENDING:
            self._keep_early(entry)
            self.catch_up()
        elif entry.offset == self._last + 1:
            self._accept(entry)

    def catch_up(self) -> None:
        """Messages may have been missed: read them."""
        if self._last is None:
            return
        if self._is_catching_up:
            self._missed_meanwhile = True
            return
        self._is_catching_up = True
        self._spawn(self._read_missed())

    async def _read_missed(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            while self.subscriptions and is_wanted() and self._last is not None:
                await self.room()
                self._missed_meanwhile = False
                newest = max((entry.offset for entry in self._early), default=0)
                try:
                    missed = await self._store.read(self.channel, self._last)
                except ServiceUnavailable:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                if missed.recovered and newest > missed.end:
                    # The store has come back without what it had told already, and gives its offset to something else.
                    missed = Missed(recovered=False, end=missed.end, entries=[])
                if not missed.recovered:
                    self._reset(missed.end)
                for entry in missed.entries:
                    self._accept(entry)
                self._accept_early()
                # After a loss once more: what had arrived early may be from before it, and then nothing follows on it.
                if missed.recovered and not self._early and not self._missed_meanwhile:
                    return
        finally:
            self._is_catching_up = False

    def _reset(self, end: int) -> None:
        # What has arrived already is not lost with the rest.
        self._early = sorted(entry for entry in self._early if entry.offset <= end)
        self._last = self._early[0].offset - 1 if self._early else end
        logger.warning("channel_lost_messages", channel=self.channel)
        self._give_soon(told(self.channel, self._last, recovered=False, is_reset=True))

    def _keep_early(self, entry: Entry) -> None:
        if len(self._early) < _MOST_EARLY:
            heapq.heappush(self._early, entry)
        else:
            # The store has it; it is read with the rest.
            self._missed_meanwhile = True

    def _accept_early(self) -> None:
        assert self._last is not None  # noqa: S101 - narrows the type; the feed is open.
        while self._early and self._early[0].offset <= self._last + 1:
            entry = heapq.heappop(self._early)
            if entry.offset > self._last:
                self._accept(entry)

    def _accept(self, entry: Entry) -> None:
        self._last = entry.offset
        if entry.origin:
            tell_of(self.channel, entry.offset, entry.origin, listeners=len(self.subscriptions))
        self._give_soon(Frames.one(encode_message(self.channel, entry.offset, entry.data), entry.offset))

    # To who listens

    async def room(self) -> None:
        """Wait while more is pending than this process sends in a moment; for nobody's reading."""
        while self._full is not None:
            await self._full.wait()

    def _give_soon(self, frames: Frames) -> None:
        self._pending.append(frames)
        self._pending_size += _size(frames)
        if self._full is None and self._pending_size >= _MUCH_PENDING:
            self._full = asyncio.Event()
        if not self._is_giving:
            self._is_giving = True
            self._spawn(self._give())

    async def _give(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + _TURN_SECONDS
        try:
            while self._pending:
                frames = self._next_pass()
                for subscription in tuple(self.subscriptions):
                    subscription.deliver(frames)
                    if loop.time() >= turn_ends:
                        await asyncio.sleep(0)
                        turn_ends = loop.time() + _TURN_SECONDS
        finally:
            self._is_giving = False
            self._has_room()

    def _next_pass(self) -> Frames:
        """What is pending, or the first part of it, as one."""
        size = count = 0
        for frames in self._pending:
            size += len(frames.texts[0])
            if count and (size > PASS_CHARACTERS or frames.is_reset or self._pending[0].is_reset):
                break
            count += 1
        taken, self._pending = self._pending[:count], self._pending[count:]
        self._pending_size -= sum(map(_size, taken))
        if self._pending_size < _MUCH_PENDING:
            self._has_room()
        if count == 1:
            return taken[0]
        return Frames([frames.last for frames in taken], [frames.texts[0] for frames in taken])

    def _has_room(self) -> None:
        if self._full is not None:
            self._full.set()
            self._full = None


def _size(frames: Frames) -> int:
    return len(frames.texts[0]) + _MESSAGE
