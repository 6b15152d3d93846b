"""Who receives a channel, in this process, told to the store for all of them."""

from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from hardpoint.errors import ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.realtime.store import ChannelStore

__all__ = ["Presence"]

logger = get_logger("hardpoint.realtime")

Member = tuple[str, str]


class Presence:
    """Users by channel, each once, however many connections they have.

    Who was here may be told late or not at all while the store is away; `refresh` tells again.

    Args:
        store: Who is told.
        spawn: Starts work that belongs to the hub.
    """

    def __init__(self, store: ChannelStore, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._store = store
        self._spawn = spawn
        self._here: Counter[Member] = Counter()

    def arrive(self, channel: str, user_id: int | str) -> None:
        """A connection begins to receive; `tell` says so."""
        self._here[channel, str(user_id)] += 1

    async def tell(self, channel: str, user_id: int | str) -> None:
        """Tell the store that a user is here."""
        await self._enter([(channel, str(user_id))])

    def leave(self, channel: str, user_id: int | str) -> None:
        """A connection receives no more."""
        member = channel, str(user_id)
        self._here[member] -= 1
        if not self._here[member]:
            del self._here[member]
            self._spawn(self._leave(member))

    async def refresh(self) -> None:
        """Tell again of everybody who is here."""
        if self._here:
            await self._enter(tuple(self._here))

    async def _enter(self, members: Collection[Member]) -> None:
        try:
            await self._store.enter(members)
        except ServiceUnavailable:
            logger.debug("presence_not_told")
        # The store may hear of two things in the other order than they happened.
        for member in members:
            if member not in self._here:
                await self._leave(member)

    async def _leave(self, member: Member) -> None:
        try:
            await self._store.leave(*member)
            if member in self._here:
                await self._store.enter([member])
        except ServiceUnavailable:
            logger.debug("presence_not_told")
