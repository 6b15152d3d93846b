"""A real server with a hub, and users that the test makes up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import HTTPConnection

from hardpoint.errors import InvalidToken, NotFound, ServiceUnavailable, install_error_handlers
from hardpoint.lifespan import Drain, Lifespan, Opened, Resource
from hardpoint.middleware import AccessLogMiddleware, ErrorsMiddleware
from hardpoint.realtime import (
    Channels,
    ChannelStore,
    History,
    Hub,
    Identity,
    Limits,
    Realtime,
    current_identity,
    open_hub,
    realtime_router,
)
from hardpoint.realtime.uvicorn import SocketProtocol
from support.servers import running_app

ORIGIN = "https://app.example"


class Users:
    """An authenticator whose tokens are `user/session/rights`."""

    def __init__(self) -> None:
        self.rights_of: dict[str, str] = {}
        self.is_away = False
        self.expires_at: int | None = None

    def identity(self, token: str) -> Identity:
        if self.is_away:
            raise ServiceUnavailable
        parts = token.split("/")
        if len(parts) != 2:
            raise InvalidToken
        user, session = parts
        self.rights_of.setdefault(session, "user")
        return Identity(int(user), session, self.expires_at, self.rights_of[session])

    async def by_handshake(self, connection: HTTPConnection) -> Identity | None:
        sent = connection.headers.get("authorization")
        return None if sent is None else self.identity(sent.removeprefix("Bearer "))

    async def by_query(self, connection: HTTPConnection, token: str) -> Identity:
        return self.identity(token)

    async def by_token(self, connection: HTTPConnection, token: str) -> Identity:
        return self.identity(token)

    async def rights(self, identities: Collection[Identity]) -> Mapping[str, str]:
        if self.is_away:
            raise ServiceUnavailable
        return dict(self.rights_of)

    def overrides(self, identity: Identity) -> Mapping[Callable[..., Any], Callable[..., Any]]:
        return {}


def some_channels() -> Channels:
    channels = Channels()

    @channels.channel("news")
    async def news() -> None:
        """What is new."""

    @channels.channel("short", history=History(count=2), message=int)
    async def short() -> None:
        """Two are kept."""

    @channels.channel("staff", presence=True)
    async def staff(identity: Annotated[Identity, Depends(current_identity)]) -> None:
        """For editors."""
        if identity.rights != "editor":
            raise NotFound("There is no such channel")

    @channels.channel("item:{item_id}")
    async def items(item_id: int) -> None:
        """Items by number."""
        if item_id > 100:
            raise HTTPException(418)
        if item_id < 0:
            raise RuntimeError("A guard's own fault")

    @channels.channel("long", history=History(count=5_000))
    async def long() -> None:
        """Many are kept."""

    return channels


class Bench:
    """A server with a hub."""

    def __init__(self, url: str, hub: Hub, users: Users) -> None:
        self.url = url
        self.hub = hub
        self.users = users

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    *,
    drain: Drain | None = None,
    now: Callable[[], float] = lambda: 0.0,
    channels: Channels | None = None,
    store: ChannelStore | None = None,
    dependencies: Sequence[Any] = (),
    server: Mapping[str, Any] | None = None,
    **limits: Any,
) -> AsyncIterator[Bench]:
    """A server with a hub; `server` has options of uvicorn, `limits` those of the hub."""
    users = Users()
    hubs: list[Hub] = []

    @asynccontextmanager
    async def open_realtime(_: Opened) -> AsyncIterator[Hub]:
        async with open_hub(
            channels or some_channels(),
            store,
            authenticator=users,
            allowed_origins=[ORIGIN],
            limits=Limits(**limits),
            drain=drain,
            drain_seconds=0.2,
            clock=now,
        ) as hub:
            hubs.append(hub)
            yield hub

    app = FastAPI(lifespan=Lifespan(Resource("realtime", open_realtime)))
    app.add_middleware(ErrorsMiddleware)
    app.add_middleware(AccessLogMiddleware)
    install_error_handlers(app)
    app.include_router(realtime_router(dependencies=dependencies))

    @app.post("/publish/{channel}")
    async def publish(channel: str, realtime: Realtime, data: Any = 1) -> int:
        return await realtime.publish(channel, data)

    options = {"ws": SocketProtocol, "ws_max_size": 16_000_000, "ws_per_message_deflate": False, **(server or {})}
    async with running_app(app, **options) as url:
        yield Bench(url, hubs[0], users)
