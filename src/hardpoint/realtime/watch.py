"""What goes on while connections are open: closing what has expired, was revoked or is stalled."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hardpoint.aio import is_failure, is_wanted
from hardpoint.errors import ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.realtime.hub import Hub
from hardpoint.realtime.identity import Identity
from hardpoint.realtime.peer import CloseCode, Peer

__all__ = ["watch"]

logger = get_logger("hardpoint.realtime")

_CHECK_SECONDS: Final = 1.0
_RIGHTS_SECONDS: Final = 2.0
_PRESENCE_SECONDS: Final = 10.0


async def watch(hub: Hub) -> None:
    """Look after a hub's connections until cancelled.

    Each kind of work has a task of its own: who has to go does not stay because a database or a guard takes its time.
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(_every(_CHECK_SECONDS, partial(_close_expired, hub)))
        group.create_task(_every(_PRESENCE_SECONDS, hub.presences.refresh))
        group.create_task(_every(_RIGHTS_SECONDS, _Rights(hub, group).check))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while is_wanted():
        await asyncio.sleep(seconds)
        await _tolerated(work())


async def _tolerated(work: Awaitable[None]) -> None:
    try:
        await work
    except ServiceUnavailable:
        # What cannot be asked at the moment is asked again; nobody is thrown out for it.
        logger.warning("realtime_check_postponed")
    except BaseException as error:
        # A guard's fault ends nothing: what it awaits may have been cancelled by others.
        if not is_failure(error):
            raise
        logger.exception("realtime_check_failed")


async def _close_expired(hub: Hub) -> None:
    now, longest = hub.clock(), hub.limits.stalled_seconds
    loop_time = asyncio.get_running_loop().time()
    for peer in hub.peers:
        if peer.identity.expires_at is not None and peer.identity.expires_at <= now:
            peer.close(CloseCode.SESSION_ENDED, "The token has expired")
        elif peer.blocked_since is not None and loop_time - peer.blocked_since > longest:
            peer.close(CloseCode.TOO_SLOW, "Too slow a reader")


class _Rights:
    """Which sessions still hold, and what their users may."""

    def __init__(self, hub: Hub, group: asyncio.TaskGroup) -> None:
        self._hub = hub
        self._group = group
        self._changing: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Close what is over, and begin to ask the guards of whose rights have changed."""
        asked = [(peer, peer.identity) for peer in self._hub.peers if peer.identity.session_id is not None]
        if not asked or self._hub.authenticator is None:
            return
        rights = await self._hub.authenticator.rights({identity.session_id: identity for _, identity in asked}.values())
        changed: list[tuple[Peer, Identity, str]] = []
        for peer, identity in asked:
            found = rights.get(identity.session_id or "")
            if peer.identity is not identity:
                # It has authenticated again meanwhile, perhaps in another session.
                continue
            if found is None:
                peer.close(CloseCode.SESSION_ENDED, "The session has ended")
            elif found != identity.rights:
                changed.append((peer, identity, found))
        # One who is not among those that are being changed is found again.
        if changed and (self._changing is None or self._changing.done()):
            self._changing = self._group.create_task(_tolerated(self._change(changed)))

    async def _change(self, changed: list[tuple[Peer, Identity, str]]) -> None:
        for peer, identity, found in changed:
            if peer.identity is identity:
                await self._hub.change_identity(peer, identity.with_rights(found))
