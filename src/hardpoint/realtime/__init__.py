"""Live messages to browsers and other clients: WebSockets by user and by channel, in one process or many.

    channels = Channels()

    @channels.channel("post:{post_id}", message=CommentOut)
    async def comments(post: VisiblePost) -> None:
        "A post's comments as they are written."

    Resource("realtime", lambda opened: open_hub(channels, authenticator=...))
    app.include_router(realtime_router())

A slow client is nobody else's wait; one that comes back gets what it missed, in order, or is told that it cannot.
By their own names, because of what they need: `hardpoint.realtime.authentication` over `hardpoint.auth`, and
`hardpoint.realtime.valkey` for many processes.
"""

from hardpoint.realtime.asyncapi import asyncapi_document
from hardpoint.realtime.channels import Channel, Channels
from hardpoint.realtime.hub import Hub
from hardpoint.realtime.identity import ANYBODY, Authenticator, Identity, current_identity
from hardpoint.realtime.limits import Limits
from hardpoint.realtime.memory import MemoryChannels
from hardpoint.realtime.opening import Realtime, get_hub, open_hub
from hardpoint.realtime.peer import CloseCode
from hardpoint.realtime.routes import realtime_router
from hardpoint.realtime.store import ChannelStore, Entry, History, Missed

__all__ = [
    "ANYBODY",
    "Authenticator",
    "Channel",
    "ChannelStore",
    "Channels",
    "CloseCode",
    "Entry",
    "History",
    "Hub",
    "Identity",
    "Limits",
    "MemoryChannels",
    "Missed",
    "Realtime",
    "asyncapi_document",
    "current_identity",
    "get_hub",
    "open_hub",
    "realtime_router",
]
