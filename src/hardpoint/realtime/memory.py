"""Channels within one process."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection

from hardpoint.clock import Clock, wall_clock
from hardpoint.realtime.store import Entry, History, Missed

__all__ = ["MemoryChannels"]


class _Kept:
    """A channel: its last messages, and until when each is kept."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.entries: deque[tuple[float, Entry]] = deque()

    def forget(self, now: float, *, most: int | None = None) -> None:
        while self.entries and (self.entries[0][0] < now or (most is not None and len(self.entries) > most)):
            self.entries.popleft()


class MemoryChannels:
    """A `ChannelStore` for one process: nothing is missed while it lives, and nothing outlives it.

    Args:
        max_channels: The most channels with a history; those published to longest ago are forgotten first.
        max_keys: The most idempotency keys.
        clock: Seconds since the epoch.
    """

    def __init__(self, *, max_channels: int = 10_000, max_keys: int = 10_000, clock: Clock = wall_clock) -> None:
        self._max_channels = max_channels
        self._max_keys = max_keys
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._keys: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._receivers: dict[str, list[Callable[[Entry], None]]] = {}
        self._present: dict[str, set[str]] = {}

    async def publish(
        self, channel: str, data: bytes, *, history: History, key: str | None = None, origin: bytes = b""
    ) -> int:
        """Append a message and tell every subscriber; its offset. With a `key` that was used before, the former's."""
        if key is not None and (known := self._keys.get((channel, key))) is not None:
            return known
        kept, now = self._channel(channel), self._clock()
        kept.end += 1
        entry = Entry(kept.end, data, origin)
        if history.count:
            kept.entries.append((now + history.seconds, entry))
        kept.forget(now, most=history.count)
        if key is not None:
            self._keys[channel, key] = entry.offset
            if len(self._keys) > self._max_keys:
                self._keys.popitem(last=False)
        # A copy: a receiver may unsubscribe.
        for receiver in tuple(self._receivers.get(channel, ())):
            receiver(entry)
        return entry.offset

    async def read(self, channel: str, since: int | None) -> Missed:
        """What came after `since`; with `None` the channel's end alone."""
        known = channel in self._kept
        kept = self._channel(channel)
        kept.forget(self._clock())
        oldest = kept.entries[0][1].offset - 1 if kept.entries else kept.end
        if since is None or not known or not oldest <= since <= kept.end:
            return Missed(recovered=False, end=kept.end, entries=[])
        return Missed(
            recovered=True, end=kept.end, entries=[entry for _, entry in kept.entries if entry.offset > since]
        )

    def _channel(self, channel: str) -> _Kept:
        kept = self._kept.get(channel)
        if kept is None:
            kept = self._kept[channel] = _Kept(end=int(self._clock() * 1_000_000))
            # One that somebody listens to keeps its place, or its messages would seem to come from another.
            for name in list(self._kept) if len(self._kept) > self._max_channels else ():
                if name != channel and name not in self._receivers:
                    del self._kept[name]
                    break
        self._kept.move_to_end(channel)
        return kept

    async def subscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Call `receiver` with each message from now on."""
        self._receivers.setdefault(channel, []).append(receiver)

    async def unsubscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Stop; one that is not subscribed is no error."""
        receivers = self._receivers.get(channel, [])
        if receiver in receivers:
            receivers.remove(receiver)
            if not receivers:
                del self._receivers[channel]

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Nothing: there are no gaps."""

    async def enter(self, members: Collection[tuple[str, str]]) -> None:
        """Say that each (channel, member) is present."""
        for channel, member in members:
            self._present.setdefault(channel, set()).add(member)

    async def leave(self, channel: str, member: str) -> None:
        """Say that `member` has left."""
        present = self._present.get(channel, set())
        present.discard(member)
        if not present:
            self._present.pop(channel, None)

    async def present(self, channel: str) -> list[str]:
        """Who is present, sorted."""
        return sorted(self._present.get(channel, ()))
