"""Applications whose size is set by the environment, for `sizes.py`."""

import os
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apps.http import Item
from hardpoint.asgi import Exchange, Part
from hardpoint.routing import CompiledRoute, CompiledRoutesMiddleware

SIZE = int(os.environ.get("BENCHMARK_SIZE", "0"))


class HeaderPart(Part):
    """Adds a header, as a part of hardpoint's."""

    def on_response(self, exchange: Exchange, message: Message) -> None:  # noqa: ARG002
        message["headers"].append((b"x-part", b"1"))


class HeaderMiddleware:
    """The same as a plain ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-part", b"1")]
            await send(message)

        await self.app(scope, receive, with_header)


class HeaderBase(BaseHTTPMiddleware):
    """The same as the textbook has it."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.append("X-Part", "1")
        return response


def _layers(kind: Any) -> FastAPI:
    app = FastAPI(openapi_url=None, middleware=[Middleware(kind)] * SIZE)

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> Item:
        return Item(id=item_id, name="a thing", price=3.5)

    return app


def parts() -> FastAPI:
    return _layers(HeaderPart)


def plain() -> FastAPI:
    return _layers(HeaderMiddleware)


def base_http() -> FastAPI:
    return _layers(HeaderBase)


def _routes(*middlewares: Middleware, compiled: bool) -> FastAPI:
    """The route that is asked for comes last."""
    options = {"route_class": CompiledRoute} if compiled else {}
    app, router = FastAPI(openapi_url=None, middleware=middlewares), APIRouter(**options)

    async def other(item_id: int) -> Item:
        return Item(id=item_id, name="another", price=1)

    for number in range(SIZE - 1):
        router.add_api_route(f"/others{number}/{{item_id}}", other)

    @router.get("/items/{item_id}")
    async def item(item_id: int) -> Item:
        return Item(id=item_id, name="a thing", price=3.5)

    app.include_router(router)
    return app


def routes() -> FastAPI:
    return _routes(compiled=False)


def routes_compiled() -> FastAPI:
    return _routes(compiled=True)


def routes_short() -> FastAPI:
    return _routes(Middleware(CompiledRoutesMiddleware), compiled=True)


def _body(*, compiled: bool) -> FastAPI:
    app = FastAPI(openapi_url=None)
    if compiled:
        app.router.route_class = CompiledRoute

    @app.post("/items")
    async def make(items: list[Item]) -> int:
        return len(items)

    return app


def body() -> FastAPI:
    return _body(compiled=False)


def body_compiled() -> FastAPI:
    return _body(compiled=True)
