"""What becomes of a user's jobs, told on their own channel."""

from collections.abc import Awaitable, Callable
from typing import Final

from hardpoint.jobs.worker import JobChange
from hardpoint.realtime import Hub

from hardpoint.service.live.announcing import announce

__all__ = ["tells_owner"]

# It tells others of what its user did, and nobody waits for it.
_SILENT: Final = frozenset({announce.name})


def tells_owner(realtime: Hub) -> Callable[[JobChange], Awaitable[None]]:
    """For `open_worker(on_change=...)`: send each change to the user who queued the job, if one did."""

    async def tell(change: JobChange) -> None:
        kind, _, user_id = (change.principal or "").partition(":")
        if kind != "user" or change.name in _SILENT:
            return
        data = {
            "event": "job",
            "id": change.job_id,
            "name": change.name,
            "status": change.status,
            "attempt": change.attempt,
            "error": change.error,
        }
        await realtime.send_to_user(int(user_id), data, key=change.key)

    return tell
