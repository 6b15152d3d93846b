"""Who an access token is of, kept for a few seconds: an authenticated request then needs no query.

Only with a `Broadcast` that every process of the service listens to: what changes is forgotten at once where that
happens, and the others are told. If that message is lost, another process may act on what was true up to
`ttl_seconds` ago; while it cannot hear the others at all, it does not use its cache.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from hardpoint.aio import is_wanted, running
from hardpoint.auth.store import SessionAndUser
from hardpoint.broadcast import Broadcast
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.log import get_logger

__all__ = ["PrincipalCache", "open_principal_cache"]

T = TypeVar("T")

logger = get_logger("hardpoint.auth")

_CHANNEL: Final = "auth:changed"


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
        self._entries: OrderedDict[str, tuple[float, SessionAndUser[Any]]] = OrderedDict()
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def changes(self) -> int:
        """How often something was forgotten. What was read before a change must not be kept after it."""
        return self._changes

    def get(self, session: AsyncSession, session_id: str) -> SessionAndUser[Any] | None:
        """The session and its user, attached to `session` without a query, or `None` when they have to be read."""
        entry = self._entries.get(session_id)
        if entry is None or not self._broadcast.connected or self._clock() - entry[0] >= self._ttl_seconds:
            return None
        merge = session.sync_session.merge
        return SessionAndUser(merge(entry[1].session, load=False), merge(entry[1].user, load=False))

    def keep(self, found: SessionAndUser[Any], *, read_at_change: int) -> None:
        """Keep what was read, unless something has changed since `changes` was `read_at_change`."""
        if read_at_change != self._changes or not self._broadcast.connected:
            return
        self._entries[found.session.id] = (self._clock(), SessionAndUser(_copy(found.session), _copy(found.user)))
        self._entries.move_to_end(found.session.id)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def forget_after_commit(self, session: AsyncSession, user_id: int) -> None:
        """Forget everything about a user, here and in the other processes, when `session` commits."""

        def forget(_: object) -> None:
            self._forget(user_id)
            self._outgoing.put_nowait(str(user_id).encode())

        event.listen(session.sync_session, "after_commit", forget, once=True)

    def clear(self) -> None:
        """Forget everything, in this process."""
        self._changes += 1
        self._entries.clear()

    def _forget(self, user_id: int) -> None:
        self._changes += 1
        for session_id in [key for key, (_, found) in self._entries.items() if found.user.id == user_id]:
            del self._entries[session_id]

    def _hear(self, message: bytes) -> None:
        self._forget(int(message))

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


def _copy(row: T) -> T:
    # The request's own object may be changed, rolled back and expired; the copy stays as it was read.
    mapper: Any = inspect(type(row))
    copy: Any = mapper.class_manager.new_instance()
    for attribute in mapper.column_attrs:
        set_committed_value(copy, attribute.key, getattr(row, attribute.key))
    make_transient_to_detached(copy)
    found: T = copy
    return found


@asynccontextmanager
async def open_principal_cache(broadcast: Broadcast, *, ttl_seconds: float = 5.0) -> AsyncIterator[PrincipalCache]:
    """A `PrincipalCache` that hears the other processes meanwhile."""
    cache = PrincipalCache(broadcast, ttl_seconds=ttl_seconds)
    async with running(cache.run()):
        yield cache
