"""Telling a channel of what has been committed."""

# A message that is sent before the commit may tell of what never was; one that is sent after it is lost when the
# process dies in between.
# new: if jobs
# So a durable job that sends it is part of the transaction, and the process that commits tries at once as well. Both
# use the same key, which makes one message of them.
# new: end if

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Depends
from hardpoint.db import Session  # new: jobs
from hardpoint.errors import (
    NotFound,  # new: jobs
    ServiceUnavailable,
)
from hardpoint.jobs import (
    AfterResponse,
    GiveUp,  # new: jobs
    JobQueue,  # new: jobs
    after_response,
)
from hardpoint.jobs.durable import Durable  # new: jobs
from hardpoint.realtime import Realtime

from hardpoint.service.base import Resource
from hardpoint.service.jobs.registry import jobs  # new: jobs

__all__ = [
    "Announce",
    "announce",  # new: jobs
    "announcer",
]


# new: if jobs
# Of its own: these wait for as long as the channels are away, and no other job has to wait behind them.
_queue = jobs.add_queue(JobQueue("live"))


# Tried for a day, which is how long the store knows a key.
@jobs.job(queue=_queue.name, attempts=8_640, backoff_seconds=1, max_backoff_seconds=10)
async def announce(channel: str, data: dict[str, Any], key: str, realtime: Realtime) -> None:
    """Send a message that may have been sent already."""
    try:
        await realtime.publish(channel, data, key=key)
    except (NotFound, ValueError) as error:
        raise GiveUp("There is no such channel, or not for this data") from error


# new: end if
async def announce_at_once(channel: str, data: dict[str, Any], key: str, realtime: Realtime) -> None:
    """Send a message, unless the channels are away."""
    # The job sends it when they are back.  # new: jobs
    with suppress(ServiceUnavailable):
        await realtime.publish(channel, data, key=key)


Announcer = Callable[[str, Resource, str], Awaitable[None]]


async def announcer(
    durable: Durable,  # new: jobs
    session: Session,  # new: jobs
    after: Annotated[AfterResponse, Depends(after_response)],
) -> Announcer:
    """`await announce(channel, data, key)`: send data to a channel when this request's transaction is committed."""

    async def announce_when_committed(channel: str, data: Resource, key: str) -> None:
        sent = data.model_dump(mode="json")
        # new: if jobs
        await durable.enqueue(announce, session=session, idempotency_key=key, channel=channel, data=sent, key=key)
        # new: end if
        after.run(announce_at_once, channel=channel, data=sent, key=key)

    return announce_when_committed


Announce = Annotated[Announcer, Depends(announcer)]
