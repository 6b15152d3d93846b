"""Where channels keep their last messages and tell every process of new ones."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

__all__ = ["ChannelStore", "Entry", "History", "Missed"]

_MOST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class History:
    """How much of a channel is kept for those who come back.

    Attributes:
        count: The most messages, 0 to 100,000.
        seconds: For how long; more than 0.
    """

    count: int = 256
    seconds: float = 3_600.0

    def __post_init__(self) -> None:
        if not 0 <= self.count <= _MOST_KEPT or not self.seconds > 0:
            raise ValueError("A history keeps 0 to 100,000 messages, for more than 0 seconds")


class Entry(NamedTuple):
    """A message at its place in a channel.

    Attributes:
        offset: Its place.
        data: JSON.
        origin: What caused it, as `hardpoint.realtime.origin` writes that; the client is not told.
    """

    offset: int
    data: bytes
    origin: bytes = b""


class Missed(NamedTuple):
    """What came after a certain offset.

    Attributes:
        recovered: Whether `entries` are all that came after it. False also when it was not asked for.
        end: The offset of the channel's newest message.
        entries: In order; when not recovered, none.
    """

    recovered: bool
    end: int
    entries: list[Entry]


class ChannelStore(Protocol):
    """Channels, over one process or many.

    A channel's offsets are whole numbers up to 2**53 that grow by one with each message. A new channel begins at the
    microseconds since the epoch, so that a store that has lost its memory never gives an offset twice: what was seen
    before the loss is older than everything after it, and whoever asks for it learns that it cannot be recovered.
    """

    async def publish(
        self, channel: str, data: bytes, *, history: History, key: str | None = None, origin: bytes = b""
    ) -> int:
        """Append a message and tell every subscriber; its offset. With a `key` that was used before, the former's."""

    async def read(self, channel: str, since: int | None) -> Missed:
        """What came after `since`; with `None` the channel's end alone."""

    async def subscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Call `receiver` with each message from now on. Some may be lost; `on_gap` and the offsets tell."""

    async def unsubscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Stop."""

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever messages may have been missed."""

    async def enter(self, members: Collection[tuple[str, str]]) -> None:
        """Say that each (channel, member) is present, for the next half a minute."""

    async def leave(self, channel: str, member: str) -> None:
        """Say that `member` has left, as far as this process knows."""

    async def present(self, channel: str) -> list[str]:
        """Who is present, in every process, sorted."""
