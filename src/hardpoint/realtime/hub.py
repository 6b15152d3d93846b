"""The connections of one process, and what they listen to."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from starlette.exceptions import HTTPException

from hardpoint.arguments import check_argument
from hardpoint.clock import Clock, wall_clock
from hardpoint.errors import Conflict, ServiceUnavailable
from hardpoint.lifespan import Drain
from hardpoint.log import get_logger
from hardpoint.origins import origins
from hardpoint.ratelimit import Rate
from hardpoint.realtime.channels import Channels, Match
from hardpoint.realtime.feed import Feed
from hardpoint.realtime.frames import Frames
from hardpoint.realtime.identity import Authenticator, Identity
from hardpoint.realtime.limits import Limits
from hardpoint.realtime.messages import Unsubscribed, encode
from hardpoint.realtime.origin import current_origin
from hardpoint.realtime.peer import CloseCode, Peer
from hardpoint.realtime.presence import Presence
from hardpoint.realtime.store import ChannelStore
from hardpoint.realtime.subscription import Subscription

__all__ = ["Hub"]

logger = get_logger("hardpoint.realtime")

# Decides when, never what: nothing secret depends on it.
_random = random.Random()  # noqa: S311 - see above.


class Hub:
    """Connections by user and by channel, and publishing to all of them; make it with `open_hub`.

    Args:
        channels: The application's channels.
        store: What carries messages between processes and keeps their history.
        spawn: Starts work in the background.
        authenticator: Says who is behind connections; without one everybody is anybody.
        allowed_origins: Whose pages may open sockets (RFC 6455, section 10.2).
        limits: What connections may do.
        drain: The service's drain, which then waits for the sockets.
        drain_seconds: Over how long the sockets are closed when the service leaves, each at a random moment, so that
            they do not come back elsewhere all at once.
        clock: Seconds since the epoch.

    Raises:
        ValueError: An origin is none that a browser would send.
        TypeError: An argument is something else, such as a class where what it makes is taken.

    Attributes:
        closings: How often connections were closed by the server, by close code.
        presences: Who receives which channel, as far as this process knows.
    """

    def __init__(
        self,
        channels: Channels,
        store: ChannelStore,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        authenticator: Authenticator | None = None,
        allowed_origins: Collection[str] = (),
        limits: Limits | None = None,
        drain: Drain | None = None,
        drain_seconds: float = 3.0,
        clock: Clock = wall_clock,
    ) -> None:
        check_argument("channels", channels, Channels, "Channels(), with what is declared on it")
        check_argument(
            "authenticator", authenticator, "by_handshake", "SessionAuthenticator(auth, database) or the like"
        )
        check_argument("limits", limits, Limits | None, "Limits(...)")
        self.channels = channels
        self.store = store
        self.authenticator = authenticator
        self.allowed_origins = origins("allowed_origins", allowed_origins)
        self.limits = limits or Limits()
        self.message_rate = Rate.parse(self.limits.messages, burst=self.limits.messages_burst, name="messages")
        self.clock = clock
        self.is_draining = False
        self.closings: Counter[int] = Counter()
        self.presences = Presence(store, spawn)
        self._spawn = spawn
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._peers: dict[Peer, None] = {}
        self._by_user: dict[int | str, dict[Peer, None]] = {}
        self._feeds: dict[str, Feed] = {}

    # For routes, jobs, and whatever else has something to tell

    async def publish(self, channel: str, data: Any, *, key: str | None = None) -> int:
        """Send data to everybody who receives `channel`, in every process.

        It returns when the store has the message. Sending it to those who are connected to this process is a task of
        its own, which is waited for only while this process has more to send than it can; never for a client.

        Args:
            channel: The channel's name.
            data: What the channel's declared type takes.
            key: Published again with the same key, the message stays the one that it was: for whoever tries again
                without knowing whether the last time succeeded. Remembered for a day.

        Returns:
            The message's offset.

        Raises:
            NotFound: There is no such channel.
            ValueError: The data is not of the channel's type.
            ServiceUnavailable: The store is away. The message may have been published all the same.
        """
        declared = self.channels.match(channel).channel
        offset = await self.store.publish(
            channel, declared.encode(data), history=declared.history, key=key, origin=current_origin()
        )
        feed = self._feeds.get(channel)
        if feed is not None:
            await feed.room()
        return offset

    async def send_to_user(self, user_id: int | str, data: Any, *, key: str | None = None) -> int:
        """Send data to all connections of a user that receive their own channel; see `publish`."""
        return await self.publish(self.channels.user_channel(user_id), data, key=key)

    async def presence(self, channel: str) -> list[str]:
        """The ids of the users who receive `channel`, in every process; sorted, each once.

        For channels declared with `presence=True`. Whose process was killed is gone within half a minute.

        Raises:
            ServiceUnavailable: The store is away.
        """
        return await self.store.present(channel)

    @property
    def connections(self) -> int:
        """How many connections this process has."""
        return len(self._peers)

    @property
    def subscriptions(self) -> int:
        """How many channels they receive, together."""
        return sum(len(feed.subscriptions) for feed in self._feeds.values())

    def connections_of(self, user_id: int | str) -> int:
        """How many connections a user has in this process."""
        return len(self._by_user.get(user_id, ()))

    # For connections

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The connections of this process."""
        return tuple(self._peers)

    def admit(self, peer: Peer) -> bool:
        """Take a connection whose user is known; whether there was room."""
        user_id = peer.identity.user_id
        if user_id is not None:
            own = self._by_user.setdefault(user_id, {})
            if len(own) >= self.limits.max_connections:
                return False
            own[peer] = None
        self._peers[peer] = None
        if self.is_draining:
            self._count_out(1)
            self._close_soon(peer)
        return True

    def dismiss(self, peer: Peer) -> None:
        """Forget a connection that has ended."""
        if peer not in self._peers:
            return
        del self._peers[peer]
        user_id = peer.identity.user_id
        if user_id is not None:
            own = self._by_user[user_id]
            del own[peer]
            if not own:
                del self._by_user[user_id]
        for channel in list(peer.subscriptions):
            self.unsubscribe(peer, channel)
        if self.is_draining:
            self._count_out(-1)

    async def subscribe(self, peer: Peer, name: str, since: int | None) -> None:
        """Let a connection receive a channel, from `since` on if that can be had.

        One that it receives already is received anew, and no more if the user may not any longer.

        Raises:
            HTTPException: There is no such channel, it is not for this user, or they have too many.
            ServiceUnavailable: The store is away.
        """
        match = self.channels.match(name, peer.identity)
        if match.name not in peer.subscriptions and len(peer.subscriptions) >= self.limits.max_channels:
            raise Conflict("Too many channels on one connection", code="TOO_MANY_CHANNELS")
        try:
            await self._authorize(peer, match)
        except ServiceUnavailable:
            raise
        except BaseException:
            self.unsubscribe(peer, match.name)
            raise
        self.unsubscribe(peer, match.name)
        subscription = self._join(peer, match)
        feed = self._feeds[match.name]
        try:
            missed = await feed.missed(since)
            if match.channel.presence and peer.identity.user_id is not None:
                await self.presences.tell(match.name, peer.identity.user_id)
        except BaseException:
            self.unsubscribe(peer, match.name)
            raise
        offset = since if since is not None and missed.recovered else missed.end
        await subscription.catch_up(offset, missed.entries, recovered=missed.recovered)

    def _join(self, peer: Peer, match: Match) -> Subscription:
        feed = self._feeds.get(match.name)
        if feed is None:
            feed = self._feeds[match.name] = Feed(match.name, self.store, self._spawn)
        subscription = Subscription(match.name, peer, max_held=self.limits.max_waiting_messages)
        feed.subscriptions[subscription] = None
        peer.subscriptions[match.name] = subscription, match
        if match.channel.presence and peer.identity.user_id is not None:
            self.presences.arrive(match.name, peer.identity.user_id)
        return subscription

    def unsubscribe(self, peer: Peer, channel: str) -> None:
        """Let a connection receive a channel no more; one that it does not receive is no error."""
        subscription, match = peer.subscriptions.pop(channel, (None, None))
        if subscription is None or match is None:
            return
        subscription.end()
        feed = self._feeds[channel]
        feed.subscriptions.pop(subscription, None)
        if not feed.subscriptions:
            del self._feeds[channel]
            self._spawn(feed.close())
        if match.channel.presence and peer.identity.user_id is not None:
            self.presences.leave(channel, peer.identity.user_id)

    async def change_identity(self, peer: Peer, identity: Identity) -> None:
        """Take a newer identity of the same user; what their new rights do not allow is received no more.

        Raises:
            ServiceUnavailable: What they allow cannot be asked at the moment; the identity stays the former.
        """
        before, peer.identity = peer.identity, identity
        if before.rights == identity.rights:
            return
        for channel, (subscription, match) in tuple(peer.subscriptions.items()):
            try:
                await self._authorize(peer, match)
            except ServiceUnavailable:
                if peer.identity is identity:
                    peer.identity = before
                raise
            except Exception as error:
                if not isinstance(error, HTTPException):
                    logger.exception("guard_failed", channel=match.channel.pattern)
                self.unsubscribe(peer, channel)
                peer.put(channel, Frames.one(encode(Unsubscribed(channel=channel)), subscription.last))

    async def _authorize(self, peer: Peer, match: Match) -> None:
        while True:
            identity = peer.identity
            overrides = {} if self.authenticator is None else self.authenticator.overrides(identity)
            await match.channel.authorize(peer.connection, match.parameters, identity, overrides)
            # The guard may have looked before the rights changed, and answered after everything was looked at again.
            if peer.identity.rights == identity.rights:
                return

    # What goes on meanwhile

    def catch_up(self) -> None:
        """Messages may have been missed, in every channel."""
        for feed in tuple(self._feeds.values()):
            feed.catch_up()

    def drain(self) -> None:
        """Close every connection within `drain_seconds`, and take no new ones."""
        self.is_draining = True
        self._count_out(len(self._peers))
        for peer in self.peers:
            self._close_soon(peer)

    def abandon(self) -> None:
        """Listen to nothing any more, so that no work in the background goes on."""
        for feed in self._feeds.values():
            feed.subscriptions.clear()

    def _close_soon(self, peer: Peer) -> None:
        delay = _random.uniform(0, self._drain_seconds)
        asyncio.get_running_loop().call_later(delay, peer.close, CloseCode.RESTART, "The server restarts")

    def _count_out(self, by: int) -> None:
        if self._drain is not None:
            self._drain.in_flight += by
