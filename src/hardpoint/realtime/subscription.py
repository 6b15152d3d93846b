"""One listener to one channel."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from hardpoint.realtime.frames import Frames
from hardpoint.realtime.messages import Subscribed, encode, encode_message
from hardpoint.realtime.store import Entry

__all__ = ["PASS_CHARACTERS", "Listener", "Subscription", "told"]

PASS_CHARACTERS = 32_768
"""The most that a listener is given at once: half of what servers take before they ask to wait."""


class Listener(Protocol):
    """What a channel's messages are sent to."""

    def put(self, channel: str, frames: Frames) -> None:
        """Send frames; must not block and must not raise."""

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

    __slots__ = ("_held", "_is_over", "_listener", "_max_held", "channel", "last")

    def __init__(self, channel: str, listener: Listener, *, max_held: int) -> None:
        self.channel = channel
        self.last = -1
        self._listener = listener
        self._max_held = max_held
        self._held: list[Frames] | None = []
        self._is_over = False

    def end(self) -> None:
        """Send nothing more."""
        self._is_over = True

    def deliver(self, frames: Frames) -> None:
        """Send what the listener has not read from the store already, or hold it back."""
        if self._held is not None:
            self._hold(frames, self._held)
        elif frames.first > self.last or frames.is_reset:
            self._put(frames)
        elif frames.last > self.last:
            self._put(frames.after(self.last))

    async def catch_up(self, offset: int, missed: list[Entry], *, recovered: bool) -> None:
        """Say where the listener stands, send what it missed, then what was held back, and from then on what is new."""
        self._put(told(self.channel, offset, recovered=recovered))
        for frames in _passes(self.channel, missed):
            self._put(frames)
            # A history may be longer than what may wait for a reader.
            await self._listener.flushed()
        held, self._held = self._held or [], None
        for frames in held:
            # A loss from before the listener read the store is none to it.
            if frames.last > self.last:
                self.deliver(frames)

    def _put(self, frames: Frames) -> None:
        if not self._is_over:
            self.last = frames.last
            self._listener.put(self.channel, frames)

    def _hold(self, frames: Frames, held: list[Frames]) -> None:
        if sum(len(each.texts) for each in held) + len(frames.texts) <= self._max_held:
            held.append(frames)
        else:
            self._listener.overflowed()


def told(channel: str, offset: int, *, recovered: bool, is_reset: bool = False) -> Frames:
    """The frame that says where a listener stands."""
    text = encode(Subscribed(channel=channel, offset=offset, recovered=recovered))
    return Frames.one(text, offset, is_reset=is_reset)


def _passes(channel: str, entries: Iterable[Entry]) -> Iterator[Frames]:
    """Entries as frames, as many at once as a listener is given."""
    waiting = iter(entries)
    for first in waiting:
        offsets, texts = [first.offset], [encode_message(channel, first.offset, first.data)]
        room = PASS_CHARACTERS - len(texts[0])
        while room > 0 and (more := next(islice(waiting, 1), None)) is not None:
            offsets.append(more.offset)
            texts.append(encode_message(channel, more.offset, more.data))
            room -= len(texts[-1])
        yield Frames(offsets, texts)
