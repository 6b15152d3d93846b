"""The short way from a stack of middlewares to a compiled route."""

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hardpoint.asgi import Exchange, Part
from hardpoint.routing.compiled import IS_KNOWN

if TYPE_CHECKING or IS_KNOWN:
    from hardpoint.routing.running import CompiledHandler, hand_on, has_something
    from hardpoint.routing.table import RouteTable

__all__ = ["CompiledRoutesMiddleware"]


class CompiledRoutesMiddleware(Part):
    """Answer requests for compiled routes without the layers that FastAPI and Starlette have around every route.

        FastAPI(middleware=Stack(..., Middleware(CompiledRoutesMiddleware)))

    Between an application's middlewares and its routes stand one that handles exceptions, one that closes files, and a
    router that looks through all routes, and twice through those of included routers. This one looks the route up by
    the first segment of its path, and for a `CompiledRoute` does what remains of the others: what the scope holds,
    exception handlers, and all else is as it was. Requests for other routes go the long way, as every request does
    under a version of FastAPI that this was not compared with.

    It stands innermost; anywhere else it does nothing.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._handlers: Any = ()
        self._table: RouteTable | None = None
        if IS_KNOWN and isinstance(app, ExceptionMiddleware) and (router := _router_behind(app)) is not None:
            self._handlers = (app._exception_handlers, app._status_handlers)  # noqa: SLF001 - told in no other way.
            self._table = RouteTable(router)

    def on_request(self, exchange: Exchange) -> ASGIApp | None:
        """Find the route, and answer if it is a compiled one."""
        if self._table is None:
            return None
        handler = self._table.find(exchange.scope)
        return None if handler is None else partial(self._answer, exchange, handler)

    async def _answer(
        self, exchange: Exchange, handler: "CompiledHandler", scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["starlette.exception_handlers"] = self._handlers
        files = scope["fastapi_middleware_astack"] = AsyncExitStack()
        try:
            try:
                await handler(scope, receive, send)
                if has_something(files):
                    await files.aclose()
            except BaseException:
                async with files:
                    raise
        except Exception as error:  # noqa: BLE001 - what a handler raises is handled once more.
            await hand_on(error, Request(scope, receive, send), send, has_started=exchange.started)


def _router_behind(app: ExceptionMiddleware) -> APIRouter | None:
    """The router of FastAPI's own, with only its own layers in between."""
    files: Any = app.app
    if type(app) is not ExceptionMiddleware or type(files) is not AsyncExitStackMiddleware:
        return None
    router: Any = files.app
    if not isinstance(router, APIRouter) or type(router).app is not APIRouter.app:
        return None
    return router if router.middleware_stack == router.app else None
