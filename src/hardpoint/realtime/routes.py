"""The routes: the socket, the events, and their description."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, WebSocket
from fastapi.params import Depends as DependsMark
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from hardpoint.errors import (
    Forbidden,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    ValidationFailed,
    responses,
)
from hardpoint.realtime.asyncapi import asyncapi_document
from hardpoint.realtime.hub import Realtime
from hardpoint.realtime.socket import serve_socket
from hardpoint.realtime.sse import EventStream, event_stream

__all__ = ["realtime_router"]


def realtime_router(
    *,
    socket_path: str = "/ws",
    events_path: str | None = "/events",
    asyncapi_path: str | None = "/asyncapi.json",
    dependencies: Sequence[DependsMark] = (),
) -> APIRouter:
    """The hub's routes, over the `Hub` that the lifespan holds under the name `realtime`.

    Args:
        socket_path: Where the WebSocket is.
        events_path: Where the same channels are as server-sent events; `None` for nowhere.
        asyncapi_path: Where the AsyncAPI document is; `None` for nowhere.
        dependencies: What runs before a socket or a stream begins, such as a `RateLimit`.
    """
    router = APIRouter(tags=["realtime"])

    async def live(websocket: WebSocket, hub: Realtime) -> None:
        await serve_socket(websocket, hub)

    async def events(stream: Annotated[EventStream, Depends(event_stream)]) -> StreamingResponse:
        """Server-sent events: one for each message of the channels, to be resumed with `Last-Event-ID`."""
        return StreamingResponse(
            stream.events(),
            media_type="text/event-stream",
            # A proxy that collects a response before it passes it on would collect for ever.
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def asyncapi(request: Request, hub: Realtime) -> JSONResponse:
        app: Any = request.app
        document = asyncapi_document(hub.channels, title=app.title, version=app.version, path=socket_path)
        return JSONResponse(document)

    router.add_api_websocket_route(socket_path, live, name="live", dependencies=list(dependencies))
    if events_path is not None:
        router.add_api_route(
            events_path,
            events,
            summary="A stream of events",
            response_class=StreamingResponse,
            responses={
                200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
                **responses(Unauthorized, Forbidden, NotFound, ValidationFailed, RateLimited, ServiceUnavailable),
            },
            dependencies=list(dependencies),
        )
    if asyncapi_path is not None:
        router.add_api_route(asyncapi_path, asyncapi, include_in_schema=False)
    return router
