"""The hub of sockets and event streams as a resource."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hardpoint.auth import Auth
from hardpoint.broadcast import Broadcast
from hardpoint.db import Database
from hardpoint.lifespan import Drain, Opened, Resource
from hardpoint.realtime import ChannelStore, Hub, MemoryChannels, open_hub
from hardpoint.realtime.authentication import SessionAuthenticator
from hardpoint.realtime.valkey import open_valkey_channels

from hardpoint.service.live.channels import channels
from hardpoint.service.settings import Settings
from hardpoint.service.users.models import User

__all__ = ["realtime_hub"]

# Sockets are closed over this part of the delay, so that the last of them has ended when it has passed.
_DRAIN_PART: Final = 0.6


def realtime_hub(
    settings: Settings,
    *,
    auth: Resource[Auth[User]],
    database: Resource[Database],
    broadcast: Resource[Broadcast],
    drain: Resource[Drain],
    origins: frozenset[str],
    drain_seconds: float,
) -> Resource[Hub]:
    """The hub, whose channels reach the clients of every process that shares a Valkey or Redis."""

    @asynccontextmanager
    async def open_realtime(opened: Opened) -> AsyncIterator[Hub]:
        authenticator = SessionAuthenticator(
            opened[auth], opened[database], query_access_tokens=settings.accepts_access_tokens_in_ws_query
        )
        async with (
            _open_channels(settings, opened[broadcast]) as store,
            open_hub(
                channels,
                store,
                authenticator=authenticator,
                allowed_origins=origins,
                # A process that serves nobody has no sockets to close.
                drain=opened.get(drain),
                drain_seconds=drain_seconds * _DRAIN_PART,
            ) as hub,
        ):
            yield hub

    return Resource("realtime", open_realtime)


@asynccontextmanager
async def _open_channels(settings: Settings, broadcast: Broadcast) -> AsyncIterator[ChannelStore]:
    if settings.redis_url is None:
        yield MemoryChannels()
        return
    async with open_valkey_channels(settings.redis_url.get_secret_value(), broadcast) as store:
        yield store
