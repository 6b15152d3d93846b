"""The connections of one process, and what they listen to."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.requests import HTTPConnection

from hardpoint.aio import is_wanted, running, task_group
from hardpoint.clock import Clock, wall_clock
from hardpoint.errors import ApiError, Conflict, ServiceUnavailable
from hardpoint.lifespan import Drain
from hardpoint.log import get_logger
from hardpoint.ratelimit import MemoryLimiter, Rate
from hardpoint.realtime.channels import Channels, Match
from hardpoint.realtime.feed import Feed, Subscription
from hardpoint.realtime.identity import Authenticator, Identity
from hardpoint.realtime.memory import MemoryChannels
from hardpoint.realtime.messages import Unsubscribed, encode
from hardpoint.realtime.peer import CloseCode, Peer
from hardpoint.realtime.store import ChannelStore, Missed

__all__ = ["Hub", "Limits", "Realtime", "get_hub", "open_hub"]

logger = get_logger("hardpoint.realtime")

_CHECK_SECONDS: Final = 1.0
_RIGHTS_SECONDS: Final = 2.0
_PRESENCE_SECONDS: Final = 10.0
# Decides when, never what: nothing secret depends on it.
_random = random.Random()  # noqa: S311 - see above.


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do, and one user's connections together.

    Attributes:
        authentication_seconds: How long a socket may take to say who it is.
        max_frame_bytes: The largest frame that a client may send; the server should have the same limit.
        messages: How many frames a client may send: `N/second`, `N/minute`, `N/hour`.
        messages_burst: How many at once after a pause.
        max_channels: The most channels of a connection.
        max_connections: The most connections of a user, in this process.
        max_waiting_messages: The most messages that wait for a client to read.
        max_waiting_characters: The most characters that wait.
        stalled_seconds: How long a client may take to read what the network has already accepted.
    """

    authentication_seconds: float = 5.0
    max_frame_bytes: int = 65_536
    messages: str = "20/second"
    messages_burst: int = 60
    max_channels: int = 100
    max_connections: int = 20
    max_waiting_messages: int = 256
    max_waiting_characters: int = 1_048_576
    stalled_seconds: float = 30.0


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

    Attributes:
        closings: How often connections were closed by the server, by close code.
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
        self.channels = channels
        self.store = store
        self.authenticator = authenticator
        self.allowed_origins = frozenset(allowed_origins)
        self.limits = limits or Limits()
        self.clock = clock
        self.is_draining = False
        self.closings: Counter[int] = Counter()
        self.message_limiter = MemoryLimiter()
        self.message_rate = Rate.parse(self.limits.messages, burst=self.limits.messages_burst, name="messages")
        self._spawn = spawn
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._peers: dict[Peer, None] = {}
        self._by_user: dict[int | str, dict[Peer, None]] = {}
        self._feeds: dict[str, Feed] = {}

    # For routes, jobs, and whatever else has something to tell

    async def publish(self, channel: str, data: Any, *, key: str | None = None) -> int:
        """Send data to everybody who receives `channel`, in every process.

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
        return await self.store.publish(channel, declared.encode(data), history=declared.history, key=key)

    async def send_to_user(self, user_id: int | str, data: Any, *, key: str | None = None) -> int:
        """Send data to all connections of a user that receive their own channel; see `publish`."""
        return await self.publish(self.channels.user_channel(user_id), data, key=key)

    async def presence(self, channel: str) -> list[str]:
        """The ids of the users who receive `channel`, in every process; sorted, each once.

        For channels declared with `presence=True`. Whose process was killed is gone within half a minute.
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

        Raises:
            ApiError: There is no such channel, it is not for this user, or they have too many.
            ServiceUnavailable: The store is away.
        """
        match = self.channels.match(name, peer.identity)
        await self._authorize(peer, match)
        self.unsubscribe(peer, match.name)
        if len(peer.subscriptions) >= self.limits.max_channels:
            raise Conflict("Too many channels on one connection", code="TOO_MANY_CHANNELS")
        feed = self._feeds.get(match.name)
        subscription = Subscription(match.name, peer, max_held=self.limits.max_waiting_messages)
        if feed is None:
            feed = self._feeds[match.name] = Feed(match.name, self.store, self._spawn)
        feed.subscriptions[subscription] = None
        peer.subscriptions[match.name] = subscription, match
        try:
            missed = await self._join(feed, since)
        except BaseException:
            self.unsubscribe(peer, match.name)
            raise
        offset = since if since is not None and missed.recovered else missed.end
        await subscription.catch_up(offset, missed.entries, recovered=missed.recovered)
        if match.channel.presence and peer.identity.user_id is not None:
            await self.store.enter([(match.name, str(peer.identity.user_id))])

    async def _join(self, feed: Feed, since: int | None) -> Missed:
        await feed.ready()
        return await self.store.read(feed.channel, since)

    def unsubscribe(self, peer: Peer, channel: str) -> None:
        """Let a connection receive a channel no more; one that it does not receive is no error."""
        subscription, match = peer.subscriptions.pop(channel, (None, None))
        if subscription is None or match is None:
            return
        feed = self._feeds[channel]
        feed.subscriptions.pop(subscription, None)
        if not feed.subscriptions:
            del self._feeds[channel]
            self._spawn(feed.close())
        user_id = peer.identity.user_id
        if match.channel.presence and user_id is not None:
            others = (other for other in self._by_user.get(user_id, ()) if other is not peer)
            if not any(channel in other.subscriptions for other in others):
                self._spawn(self._leave(channel, str(user_id)))

    async def _leave(self, channel: str, member: str) -> None:
        try:
            await self.store.leave(channel, member)
        except ServiceUnavailable:
            logger.debug("presence_not_told", channel=channel)

    async def _authorize(self, peer: Peer, match: Match) -> None:
        overrides = {} if self.authenticator is None else self.authenticator.overrides(peer.identity)
        await match.channel.authorize(peer.connection, match.parameters, peer.identity, overrides)

    # What goes on meanwhile

    def catch_up(self) -> None:
        """Messages may have been missed, in every channel."""
        for feed in tuple(self._feeds.values()):
            feed.catch_up()

    async def watch(self) -> None:
        """Close what has expired, was revoked or is stalled, until cancelled; `open_hub` runs it."""
        loop = asyncio.get_running_loop()
        rights_due = presence_due = loop.time()
        while is_wanted():
            await asyncio.sleep(_CHECK_SECONDS)
            now = loop.time()
            try:
                self._close_expired(now)
                if now >= rights_due:
                    await self._check_rights()
                    rights_due = loop.time() + _RIGHTS_SECONDS
                if now >= presence_due:
                    await self._tell_presence()
                    presence_due = loop.time() + _PRESENCE_SECONDS
            except ServiceUnavailable:
                # What cannot be asked at the moment is asked again; nobody is thrown out for it.
                logger.warning("realtime_check_postponed")
            except Exception:
                logger.exception("realtime_check_failed")

    def _close_expired(self, loop_time: float) -> None:
        now = self.clock()
        for peer in tuple(self._peers):
            if peer.identity.expires_at is not None and peer.identity.expires_at <= now:
                peer.close(CloseCode.SESSION_ENDED, "The token has expired")
            elif peer.blocked_since is not None and loop_time - peer.blocked_since > self.limits.stalled_seconds:
                peer.close(CloseCode.TOO_SLOW, "Too slow a reader")

    async def _check_rights(self) -> None:
        peers = [peer for peer in self._peers if peer.identity.session_id is not None]
        if not peers or self.authenticator is None:
            return
        rights = await self.authenticator.rights({peer.identity for peer in peers})
        for peer in peers:
            found = rights.get(peer.identity.session_id or "")
            if found is None:
                peer.close(CloseCode.SESSION_ENDED, "The session has ended")
            else:
                await self.change_identity(peer, peer.identity.with_rights(found))

    async def change_identity(self, peer: Peer, identity: Identity) -> None:
        """Take a newer identity of the same user; what their new rights do not allow is received no more.

        Raises:
            ServiceUnavailable: What they allow cannot be asked at the moment; the identity stays the former.
        """
        before, peer.identity = peer.identity, identity
        if before.rights == identity.rights:
            return
        try:
            await self._authorize_again(peer)
        except ServiceUnavailable:
            peer.identity = before
            raise

    async def _authorize_again(self, peer: Peer) -> None:
        for channel, (subscription, match) in tuple(peer.subscriptions.items()):
            try:
                await self._authorize(peer, match)
            except ServiceUnavailable:
                raise
            except ApiError:
                self.unsubscribe(peer, channel)
                peer.put(channel, subscription.last, encode(Unsubscribed(channel=channel)))

    async def _tell_presence(self) -> None:
        members = {
            (channel, str(peer.identity.user_id))
            for peer in self._peers
            if peer.identity.user_id is not None
            for channel, (_, match) in peer.subscriptions.items()
            if match.channel.presence
        }
        if members:
            await self.store.enter(members)

    def drain(self) -> None:
        """Close every connection within `drain_seconds`, and take no new ones."""
        self.is_draining = True
        self._count_out(len(self._peers))
        for peer in tuple(self._peers):
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


@asynccontextmanager
async def open_hub(
    channels: Channels,
    store: ChannelStore | None = None,
    *,
    authenticator: Authenticator | None = None,
    allowed_origins: Collection[str] = (),
    limits: Limits | None = None,
    drain: Drain | None = None,
    drain_seconds: float = 3.0,
    clock: Clock = wall_clock,
) -> AsyncIterator[Hub]:
    """A `Hub` that watches its connections meanwhile; see there for the arguments.

    As a resource: `Resource("realtime", lambda opened: open_hub(channels, ...))`. Without a store, channels are this
    process's own.
    """
    async with task_group() as group:

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            group.create_task(_logged(work))

        hub = Hub(
            channels,
            store or MemoryChannels(clock=clock),
            spawn=spawn,
            authenticator=authenticator,
            allowed_origins=allowed_origins,
            limits=limits,
            drain=drain,
            drain_seconds=drain_seconds,
            clock=clock,
        )
        hub.store.on_gap(hub.catch_up)
        if drain is not None:
            drain.on_draining(hub.drain)
        async with running(hub.watch()):
            try:
                yield hub
            finally:
                hub.abandon()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    # One channel's failure must not end the service, which is what a task group would make of it.
    try:
        await work
    except Exception:
        logger.exception("realtime_work_failed")


async def get_hub(connection: HTTPConnection) -> Hub:
    """The `Hub` that the lifespan holds under the name `realtime`."""
    hub: Hub = connection.state.realtime
    return hub


Realtime = Annotated[Hub, Depends(get_hub)]
"""The hub, as a parameter of a route or a job: `await realtime.publish("posts", post)`."""
