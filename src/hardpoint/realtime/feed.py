"""A channel in one process: what the store tells, put in order, without gaps or repeats, and given to who listens."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from hardpoint.aio import is_wanted
from hardpoint.errors import ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.realtime.messages import Subscribed, encode, encode_message
from hardpoint.realtime.store import ChannelStore, Entry

__all__ = ["Feed", "Listener", "Subscription"]

logger = get_logger("hardpoint.realtime")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0


class Listener(Protocol):
    """What a channel's messages are sent to."""

    def put(self, channel: str, offset: int, text: str) -> None:
        """Send the text of a frame; must not block and must not raise."""

    async def flushed(self) -> None:
        """Wait until what was put is sent."""

    def overflowed(self) -> None:
        """More came than it can take; it will close."""


class Subscription:
    """One listener to one channel.

    While it catches up, what is new is held back, so that its listener gets everything in order.

    Args:
        channel: The channel's name.
        listener: Whom to send to.
        max_held: The most messages that are held back.
    """

    __slots__ = ("_held", "_listener", "_max_held", "channel", "last")

    def __init__(self, channel: str, listener: Listener, *, max_held: int) -> None:
        self.channel = channel
        self.last = -1
        self._listener = listener
        self._max_held = max_held
        self._held: list[tuple[int, str]] | None = []

    def deliver(self, offset: int, text: str) -> None:
        """Send a message, or hold it back; not one that the listener has read from the store already."""
        if self._held is None:
            if offset > self.last:
                self.last = offset
                self._listener.put(self.channel, offset, text)
        elif len(self._held) < self._max_held:
            self._held.append((offset, text))
        else:
            self._listener.overflowed()

    async def catch_up(self, offset: int, missed: list[Entry], *, recovered: bool) -> None:
        """Say where the listener stands, send what it missed, then what was held back, and from then on what is new."""
        self.last = offset
        self.tell(offset, recovered=recovered)
        for entry in missed:
            self.last = entry.offset
            self._listener.put(self.channel, entry.offset, encode_message(self.channel, entry.offset, entry.data))
            # A history may be longer than what may wait for a reader.
            await self._listener.flushed()
        held, self._held = self._held or [], None
        for new_offset, text in held:
            self.deliver(new_offset, text)

    def tell(self, offset: int, *, recovered: bool) -> None:
        """Say where the listener stands."""
        text = encode(Subscribed(channel=self.channel, offset=offset, recovered=recovered))
        self._listener.put(self.channel, offset, text)

    def reset(self, offset: int) -> None:
        """The channel has lost messages: whatever was held back is of before."""
        self.last = offset
        if self._held is None:
            self.tell(offset, recovered=False)


class Feed:
    """A channel that somebody in this process listens to.

    Args:
        channel: The channel's name.
        store: Where its messages come from.
        spawn: Starts work that belongs to the hub.
    """

    def __init__(self, channel: str, store: ChannelStore, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.channel = channel
        self.subscriptions: dict[Subscription, None] = {}
        self._opening = asyncio.Lock()
        self._is_subscribed = False
        self._store = store
        self._spawn = spawn
        self._last: int | None = None
        self._early: list[Entry] = []
        self._is_catching_up = False
        self._missed_meanwhile = False

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
                self._deliver_early()

    async def close(self) -> None:
        """Listen no more."""
        await self._store.unsubscribe(self.channel, self.receive)

    def receive(self, entry: Entry) -> None:
        """A message from the store."""
        if self._last is None or self._is_catching_up:
            heapq.heappush(self._early, entry)
        elif entry.offset > self._last + 1:
            heapq.heappush(self._early, entry)
            self.catch_up()
        elif entry.offset == self._last + 1:
            self._deliver(entry)

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
                self._missed_meanwhile = False
                try:
                    missed = await self._store.read(self.channel, self._last)
                except ServiceUnavailable:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                if not missed.recovered:
                    self._reset(missed.end)
                for entry in missed.entries:
                    self._deliver(entry)
                self._deliver_early()
                if not self._early and not self._missed_meanwhile:
                    return
        finally:
            self._is_catching_up = False

    def _reset(self, end: int) -> None:
        # What has arrived after the loss is not lost with the rest.
        arrived = [entry for entry in self._early if entry.offset <= end]
        self._early = sorted(arrived)
        self._last = self._early[0].offset - 1 if self._early else end
        logger.warning("channel_lost_messages", channel=self.channel)
        for subscription in tuple(self.subscriptions):
            subscription.reset(self._last)

    def _deliver_early(self) -> None:
        assert self._last is not None  # noqa: S101 - narrows the type; the feed is open.
        while self._early and self._early[0].offset <= self._last + 1:
            entry = heapq.heappop(self._early)
            if entry.offset > self._last:
                self._deliver(entry)

    def _deliver(self, entry: Entry) -> None:
        self._last = entry.offset
        text = encode_message(self.channel, entry.offset, entry.data)
        # A copy: a listener that cannot take it is removed.
        for subscription in tuple(self.subscriptions):
            subscription.deliver(entry.offset, text)
