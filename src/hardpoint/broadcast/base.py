"""What both broadcasts promise."""

from collections.abc import Callable
from typing import Protocol

from hardpoint.log import get_logger

__all__ = ["Broadcast", "Receiver", "Receivers"]

logger = get_logger("hardpoint.broadcast")

Receiver = Callable[[bytes], None]
"""Called on the event loop with each message; must not block and must not raise."""


class Broadcast(Protocol):
    """Publish and subscribe."""

    @property
    def connected(self) -> bool:
        """Whether messages of other processes arrive at the moment."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Give `message` to every receiver of `channel`, in every process, this one included."""

    async def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Call `receiver` with every message on `channel` from now on."""

    async def unsubscribe(self, channel: str, receiver: Receiver) -> None:
        """Stop; one that is not subscribed is no error."""

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever messages may have been missed, as after a lost connection."""


class Receivers:
    """Who listens to what, in this process."""

    def __init__(self) -> None:
        self._by_channel: dict[str, list[Receiver]] = {}

    def __contains__(self, channel: str) -> bool:
        return channel in self._by_channel

    @property
    def channels(self) -> list[str]:
        """Every channel that somebody listens to."""
        return list(self._by_channel)

    def add(self, channel: str, receiver: Receiver) -> bool:
        """Add; whether it is the channel's first."""
        receivers = self._by_channel.setdefault(channel, [])
        receivers.append(receiver)
        return len(receivers) == 1

    def remove(self, channel: str, receiver: Receiver) -> bool:
        """Remove; whether it was the channel's last."""
        receivers = self._by_channel.get(channel, [])
        if receiver in receivers:
            receivers.remove(receiver)
            if not receivers:
                del self._by_channel[channel]
                return True
        return False

    def dispatch(self, channel: str, message: bytes) -> None:
        """Call every receiver of `channel`."""
        # A copy: a receiver may unsubscribe.
        for receiver in tuple(self._by_channel.get(channel, ())):
            try:
                receiver(message)
            except Exception:
                # Whoever publishes in the store may write anything; that must not end the task that listens.
                logger.exception("broadcast_receiver_failed", channel=channel)
