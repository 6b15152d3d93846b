"""Between processes, over Valkey or Redis: one subscription connection a process, which comes back by itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis

from hardpoint.aio import is_wanted, running
from hardpoint.broadcast.base import Receiver, Receivers
from hardpoint.log import get_logger
from hardpoint.valkey import ValkeyUnavailable, close_client, find_node, make_client

__all__ = ["ValkeyBroadcast", "open_valkey_broadcast"]

logger = get_logger("hardpoint.broadcast")

_ALIVE: Final = "alive"
_SILENCE_SECONDS: Final = 5.0
_CONFIRM_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_IN_A_ROW: Final = 32


class ValkeyBroadcast:
    """A `Broadcast` on Valkey or Redis; make it with `open_valkey_broadcast`.

    It is subscribed to the channels that this process has receivers for, and to no other. A connection that is silent
    is asked whether it lives; one that is lost is made again, with its subscriptions, and then `on_gap` is told.

    Args:
        client: For publishing; whoever made it closes it.
        listener: For the subscriptions; without a time-out for reading.
        prefix: What the channels' names begin with in the store.
        silence_seconds: After which a silent connection is asked, and again that long after which it is lost.
    """

    def __init__(
        self,
        client: "Redis",
        listener: "Redis",
        *,
        prefix: str = "hardpoint:",
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> None:
        self._client = client
        self._listener = listener
        self._prefix = prefix
        self._silence_seconds = silence_seconds
        self._receivers = Receivers()
        self._gap_callbacks: list[Callable[[], None]] = []
        self._pubsub: Any = None
        self._requested: set[str] = set()
        self._confirmed: dict[str, asyncio.Event] = {}
        # Subscriptions asked for on this connection and not confirmed: of several, the last one counts.
        self._unconfirmed: Counter[str] = Counter()
        self.connected = False

    async def publish(self, channel: str, message: bytes) -> None:
        """Give `message` to every receiver of `channel`, in every process, this one included.

        Raises:
            redis.exceptions.RedisError: The store is away, slow, or refuses.
        """
        await self._client.publish(self._prefix + channel, message)

    async def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Call `receiver` with every message on `channel` from now on.

        Returns when the store has confirmed it; while the store is away, after a second: then it begins when the store
        is back, and `on_gap` says so.
        """
        if self._receivers.add(channel, receiver):
            self._confirmed[channel] = asyncio.Event()
            if self.connected:
                try:
                    await self._request([channel])
                except ValkeyUnavailable:
                    # The reader finds out too, and subscribes to everything again.
                    logger.debug("subscription_postponed", channel=channel)
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            # Whoever subscribed has unsubscribed meanwhile.
            return
        try:
            async with asyncio.timeout(_CONFIRM_SECONDS):
                await confirmed.wait()
        except TimeoutError:
            logger.warning("subscription_unconfirmed", channel=channel)

    async def unsubscribe(self, channel: str, receiver: Receiver) -> None:
        """Stop; one that is not subscribed is no error."""
        if self._receivers.remove(channel, receiver):
            del self._confirmed[channel]
            self._requested.discard(channel)
            if self.connected:
                try:
                    await self._pubsub.unsubscribe(self._prefix + channel)
                except ValkeyUnavailable:
                    logger.debug("unsubscription_postponed", channel=channel)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever messages may have been missed: when the connection is lost, and when it is back."""
        self._gap_callbacks.append(callback)

    async def ping(self) -> None:
        """Raise when nothing can be published at the moment."""
        await self._client.ping()

    async def run(self) -> None:
        """Listen until cancelled; `open_valkey_broadcast` runs it."""
        pause = _FIRST_PAUSE_SECONDS
        while is_wanted():
            try:
                await find_node(self._listener, self._prefix + _ALIVE)
                async with self._listener.pubsub() as pubsub:
                    self._pubsub = pubsub
                    await self._listen(pubsub)
            except ValkeyUnavailable as error:
                if self.connected:
                    self.connected = False
                    pause = _FIRST_PAUSE_SECONDS
                    logger.error("broadcast_disconnected", error=type(error).__name__)  # noqa: TRY400 - no fault of code.
                    self._tell_of_a_gap()
            finally:
                self.connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _listen(self, pubsub: Any) -> None:
        self._requested.clear()
        self._unconfirmed.clear()
        # Nobody publishes on it. Its confirmation says that the connection stands, and whoever subscribes from then on
        # can do so on it.
        await self._request([_ALIVE])
        asked = False
        in_a_row = 0
        while is_wanted():
            in_a_row = (in_a_row + 1) % _IN_A_ROW
            if not in_a_row:
                # What has arrived already is read without waiting, and those who are to send it on would never come.
                await asyncio.sleep(0)
            message = await pubsub.get_message(timeout=self._silence_seconds)
            if message is None:
                if asked:
                    raise TimeoutError
                await pubsub.ping()
                asked = True
                continue
            asked = False
            kind, name = message["type"], message["channel"]
            if kind == "message":
                self._receivers.dispatch(name.decode()[len(self._prefix) :], message["data"])
            elif kind == "subscribe":
                await self._confirm(name.decode()[len(self._prefix) :])

    async def _request(self, channels: list[str]) -> None:
        self._requested.update(channels)
        self._unconfirmed.update(channels)
        await self._pubsub.subscribe(*(self._prefix + channel for channel in channels))

    async def _confirm(self, channel: str) -> None:
        self._unconfirmed[channel] -= 1
        if not self._unconfirmed[channel]:
            del self._unconfirmed[channel]
        if channel == _ALIVE:
            self.connected = True
            logger.info("broadcast_connected")
            missing = [channel for channel in self._receivers.channels if channel not in self._requested]
            if missing:
                await self._request(missing)
            # Also after the first connection: who subscribed before it may have missed something.
            self._tell_of_a_gap()
        elif channel in self._confirmed and channel not in self._unconfirmed:
            self._confirmed[channel].set()

    def _tell_of_a_gap(self) -> None:
        for callback in self._gap_callbacks:
            callback()


@asynccontextmanager
async def open_valkey_broadcast(
    url: str, *, prefix: str = "hardpoint:", silence_seconds: float = _SILENCE_SECONDS
) -> AsyncIterator[ValkeyBroadcast]:
    """A `ValkeyBroadcast` that listens meanwhile; see there for the arguments."""
    client, listener = make_client(url), make_client(url, max_connections=2, timeout_seconds=None)
    broadcast = ValkeyBroadcast(client, listener, prefix=prefix, silence_seconds=silence_seconds)
    try:
        async with running(broadcast.run()):
            yield broadcast
    finally:
        await close_client(client)
        await close_client(listener)
