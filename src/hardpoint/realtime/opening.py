"""A hub that lives as long as the application, and how routes and jobs find it."""

from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from hardpoint.aio import running, task_group
from hardpoint.clock import Clock, wall_clock
from hardpoint.lifespan import Drain
from hardpoint.log import get_logger
from hardpoint.realtime.channels import Channels
from hardpoint.realtime.hub import Hub
from hardpoint.realtime.identity import Authenticator
from hardpoint.realtime.limits import Limits
from hardpoint.realtime.memory import MemoryChannels
from hardpoint.realtime.store import ChannelStore
from hardpoint.realtime.watch import watch
from hardpoint.scope import of_lifespan

__all__ = ["Realtime", "get_hub", "open_hub"]

logger = get_logger("hardpoint.realtime")


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
        # Work in the background is nobody's request, whoever happens to cause it.
        outside = copy_context()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            group.create_task(_logged(work), context=outside.copy())

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
        async with running(watch(hub)):
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
    hub: Hub = of_lifespan(connection.scope, "realtime")
    return hub


Realtime = Annotated[Hub, Depends(get_hub)]
"""The hub, as a parameter of a route or a job: `await realtime.publish("posts", post)`."""
