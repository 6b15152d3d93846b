"""What goes on while connections are open: closing what has expired, was revoked or is stalled."""

import asyncio
from typing import Final

from hardpoint.aio import is_wanted
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
    """Look after a hub's connections until cancelled."""
    loop = asyncio.get_running_loop()
    rights_due = presence_due = loop.time()
    while is_wanted():
        await asyncio.sleep(_CHECK_SECONDS)
        now = loop.time()
        try:
            _close_expired(hub, now)
            if now >= rights_due:
                await _check_rights(hub)
                rights_due = loop.time() + _RIGHTS_SECONDS
            if now >= presence_due:
                await hub.presences.refresh()
                presence_due = loop.time() + _PRESENCE_SECONDS
        except ServiceUnavailable:
            # What cannot be asked at the moment is asked again; nobody is thrown out for it.
            logger.warning("realtime_check_postponed")
        except Exception:
            logger.exception("realtime_check_failed")


def _close_expired(hub: Hub, loop_time: float) -> None:
    now, longest = hub.clock(), hub.limits.stalled_seconds
    for peer in hub.peers:
        if peer.identity.expires_at is not None and peer.identity.expires_at <= now:
            peer.close(CloseCode.SESSION_ENDED, "The token has expired")
        elif peer.blocked_since is not None and loop_time - peer.blocked_since > longest:
            peer.close(CloseCode.TOO_SLOW, "Too slow a reader")


async def _check_rights(hub: Hub) -> None:
    asked = [(peer, peer.identity) for peer in hub.peers if peer.identity.session_id is not None]
    if not asked or hub.authenticator is None:
        return
    rights = await hub.authenticator.rights({identity.session_id: identity for _, identity in asked}.values())
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
    # After all that is over has been closed: this asks the guards, which may take a while.
    for peer, identity, found in changed:
        if peer.identity is identity:
            await hub.change_identity(peer, identity.with_rights(found))
