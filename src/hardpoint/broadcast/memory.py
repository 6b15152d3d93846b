"""Within one process."""

from collections.abc import Callable

from hardpoint.broadcast.base import Receiver, Receivers

__all__ = ["MemoryBroadcast"]


class MemoryBroadcast:
    """A `Broadcast` for one process: nothing is ever missed, and nobody else hears it."""

    connected = True

    def __init__(self) -> None:
        self._receivers = Receivers()

    async def publish(self, channel: str, message: bytes) -> None:
        """Give `message` to every receiver of `channel`."""
        self._receivers.dispatch(channel, message)

    async def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Call `receiver` with every message on `channel` from now on."""
        self._receivers.add(channel, receiver)

    async def unsubscribe(self, channel: str, receiver: Receiver) -> None:
        """Stop; one that is not subscribed is no error."""
        self._receivers.remove(channel, receiver)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Nothing: there are no gaps."""
