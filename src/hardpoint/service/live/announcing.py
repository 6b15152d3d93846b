"""Telling a channel of what has been committed: at once if possible, and certainly.

A message that is sent before the commit may tell of what never was; one that is sent after it is lost when the process
dies in between. So a durable job that sends it is part of the transaction, and the process that commits tries at once
as well. Both use the same key, which makes one message of them.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends
from pydantic import BaseModel

from hardpoint.db import Session
from hardpoint.errors import ServiceUnavailable
from hardpoint.jobs import AfterResponse, after_response
from hardpoint.jobs.durable import Durable
from hardpoint.realtime import Realtime
from hardpoint.service.jobs.registry import jobs

__all__ = ["Announce", "announce", "announcer"]


@jobs.job()
async def announce(channel: str, data: dict[str, Any], key: str, realtime: Realtime) -> None:
    """Send a message that may have been sent already."""
    await realtime.publish(channel, data, key=key)


async def announce_at_once(channel: str, data: dict[str, Any], key: str, realtime: Realtime) -> None:
    """Send it without waiting for a worker."""
    try:
        await realtime.publish(channel, data, key=key)
    except ServiceUnavailable:
        # The job sends it when the channels are back.
        return


Announcer = Callable[[str, BaseModel, str], Awaitable[None]]


async def announcer(
    durable: Durable, session: Session, after: Annotated[AfterResponse, Depends(after_response)]
) -> Announcer:
    """`await announce(channel, data, key)`: send data to a channel when this request's transaction is committed."""

    async def announce_when_committed(channel: str, data: BaseModel, key: str) -> None:
        sent = data.model_dump(mode="json")
        await durable.enqueue(announce, session=session, idempotency_key=key, channel=channel, data=sent, key=key)
        after.run(announce_at_once, channel=channel, data=sent, key=key)

    return announce_when_committed


Announce = Annotated[Announcer, Depends(announcer)]
