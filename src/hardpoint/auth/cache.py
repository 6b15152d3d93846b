"""Who an access token is of, kept for a few seconds: an authenticated request then needs no query.

Only with a `Broadcast` that every process of the service listens to: what changes is forgotten at once where that
happens, and the others are told. If that message is lost, another process may act on what was true up to
`ttl_seconds` ago; while it cannot hear the others at all, it does not use its cache.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from hardpoint.aio import is_wanted, running
from hardpoint.auth.protocols import AuthStore, SessionAndUser, UserId
from hardpoint.broadcast import Broadcast
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.log import get_logger

__all__ = ["PrincipalCache", "open_principal_cache"]

logger = get_logger("hardpoint.auth")

_CHANNEL: Final = "auth:changed"


class _Entry(NamedTuple):
    """A session and its user, when they were read, when the session ends of itself, and whose it is."""

    read_at: float
    ends_at: datetime
    user_id: UserId
    found: SessionAndUser[Any]


class PrincipalCache:
    """Sessions and their users by session id; make it with `open_principal_cache`.

    Args:
        broadcast: Tells the other processes, and hears them.
        ttl_seconds: How long an entry is used.
        max_entries: The most entries; those made longest ago go first.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        *,
        ttl_seconds: float = 5.0,
        max_entries: int = 10_000,
        clock: Clock = monotonic_clock,
    ) -> None:
        if ttl_seconds <= 0 or max_entries < 1:
            raise ValueError("ttl_seconds must be more than 0 and max_entries at least 1")
        self._broadcast = broadcast
        self._ttl_seconds = ttl_seconds
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def mark(self) -> tuple[int, float]:
        """What `keep` has to know of the moment before what it is to keep was read."""
        return self._changes, self._clock()

    def get(
        self, store: AuthStore[Any], session_id: str, *, now: datetime, user_id: UserId | None = None
    ) -> SessionAndUser[Any] | None:
        """The session and its user, as if `store` had read them, or `None` when it has to.

        Args:
            store: What would read them.
            session_id: Which session.
            now: The time.
            user_id: Whose session it has to be, if that matters.
        """
        entry = self._entries.get(session_id)
        if entry is None or not self._broadcast.connected:
            return None
        read_at, ends_at, owner_id, found = entry
        if self._clock() - read_at >= self._ttl_seconds or now >= ends_at or user_id not in {None, owner_id}:
            return None
        return store.attach(found)

    def keep(
        self, store: AuthStore[Any], found: SessionAndUser[Any], *, mark: tuple[int, float], ends_at: datetime
    ) -> None:
        """Keep what was read after `mark` was made, unless something was forgotten meanwhile or it is not to be kept.

        Args:
            store: What has read it.
            found: A living session and its user.
            mark: What `mark` gave before.
            ends_at: When the session ends if nothing is done.
        """
        changes, read_at = mark
        if changes != self._changes or not self._broadcast.connected:
            return
        kept = store.detach(found)
        if kept is None:
            return
        # Plain values, as SQLAlchemy's attributes cost a look each.
        session_id, user_id = found.session.id, found.user.id
        self._entries[session_id] = _Entry(read_at, ends_at, user_id, kept)
        self._entries.move_to_end(session_id)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def forget_after_commit(self, store: AuthStore[Any], user_id: UserId) -> None:
        """Forget everything about a user, here and in the other processes, when `store` commits."""

        def forget() -> None:
            self._forget(str(user_id))
            self._outgoing.put_nowait(str(user_id).encode())

        store.after_commit(forget)

    def clear(self) -> None:
        """Forget everything, in this process."""
        self._changes += 1
        self._entries.clear()

    def _forget(self, user_id: str) -> None:
        self._changes += 1
        for session_id in [key for key, entry in self._entries.items() if str(entry.user_id) == user_id]:
            del self._entries[session_id]

    def _hear(self, message: bytes) -> None:
        self._forget(message.decode())

    async def run(self) -> None:
        """Listen and tell until cancelled; `open_principal_cache` runs it."""
        self._broadcast.on_gap(self.clear)
        await self._broadcast.subscribe(_CHANNEL, self._hear)
        try:
            while is_wanted():
                message = await self._outgoing.get()
                try:
                    await self._broadcast.publish(_CHANNEL, message)
                except Exception as error:  # noqa: BLE001 - the entry's life bounds what that means.
                    logger.warning("change_not_told", error=type(error).__name__)
        finally:
            await self._broadcast.unsubscribe(_CHANNEL, self._hear)


@asynccontextmanager
async def open_principal_cache(broadcast: Broadcast, *, ttl_seconds: float = 5.0) -> AsyncIterator[PrincipalCache]:
    """A `PrincipalCache` that hears the other processes meanwhile."""
    cache = PrincipalCache(broadcast, ttl_seconds=ttl_seconds)
    async with running(cache.run()):
        yield cache
