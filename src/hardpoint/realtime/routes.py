"""The routes: the socket, the events, and their description."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, WebSocket
from fastapi.params import Depends as DependsMark
from starlette.requests import Request
from starlette.responses import JSONResponse

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
from hardpoint.realtime.opening import Realtime
from hardpoint.realtime.socket import serve_socket
from hardpoint.realtime.sse import EventStream, EventStreamResponse, event_stream

__all__ = ["realtime_router"]

# FastAPI closes what is in them when the endpoint ends.
_DEPENDENCIES_OF_A_ROUTE: Final = ("fastapi_function_astack", "fastapi_inner_astack")


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
        dependencies: What runs before a socket or a stream begins, such as a `RateLimit`. Those with `yield` end before
            the socket begins, so that a session of the database is not held for as long as the socket. A stream holds
            them until it ends, unless they are declared with `scope="function"`.

    Raises:
        ValueError: A path does not begin with a slash, so that nobody could reach it.
    """
    paths = {"socket_path": socket_path, "events_path": events_path, "asyncapi_path": asyncapi_path}
    for name, path in paths.items():
        if path is not None and str(path)[:1] not in {"", "/"}:
            raise ValueError(f"{name} must begin with a slash, and {path!r} does not; None leaves a route out")
    router = APIRouter(tags=["realtime"])

    async def live(websocket: WebSocket, hub: Realtime) -> None:
        for stack in _DEPENDENCIES_OF_A_ROUTE:
            await websocket.scope[stack].aclose()
        await serve_socket(websocket, hub)

    async def events(stream: Annotated[EventStream, Depends(event_stream)]) -> EventStreamResponse:
        """Server-sent events: one for each message of the channels, to be resumed with `Last-Event-ID`."""
        return EventStreamResponse(stream)

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
            # FastAPI would look for it among the arguments of the response's class, which has none.
            status_code=200,
            response_class=EventStreamResponse,
            responses={
                200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
                **responses(Unauthorized, Forbidden, NotFound, ValidationFailed, RateLimited, ServiceUnavailable),
            },
            dependencies=list(dependencies),
        )
    if asyncapi_path is not None:
        router.add_api_route(asyncapi_path, asyncapi, include_in_schema=False)
    return router
