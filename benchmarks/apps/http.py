"""One and the same route, `GET /items/{id}`, on different grounds and with different things around it.

Every variant of the group `stack` does the same work: a request id in and out, `Server-Timing`, one JSON line for each
request, CORS, the security headers, a rate limit in memory with its headers, errors as JSON. Those of the group `auth`
also verify a JWT, find its user and require a role. `equal.py` checks that they do. Ours and Litestar bound the body as
well, and ours has one envelope for all errors, which the textbook is spared.
"""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from apps.accounts import PASSWORD, ROLES, SECRET, database_url
from hardpoint.auth import Auth, AuthModels, Roles, UserMixin, auth_router, open_principal_cache
from hardpoint.broadcast import MemoryBroadcast
from hardpoint.db import open_database
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import Lifespan, Opened, Resource
from hardpoint.log import configure_logging
from hardpoint.middleware import (
    AccessLogMiddleware,
    BodyLimitMiddleware,
    CORSMiddleware,
    ErrorsMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
    Stack,
    TimingMiddleware,
)
from hardpoint.ratelimit import MemoryLimiter, RateLimit, RateLimitMiddleware
from hardpoint.routing import CompiledRoute, CompiledRoutesMiddleware

ORIGINS = ["https://app.example.com"]
RATE = "100000000/minute"


class Item(BaseModel):
    id: int
    name: str
    price: float


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """ASGI and nothing else: the limit."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    item = {"id": int(scope["path"].rpartition("/")[2]), "name": "a thing", "price": 3.5}
    body = json.dumps(item, separators=(",", ":")).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def raw_asgi() -> Any:
    return raw


def starlette() -> Starlette:
    async def item(request: Request) -> JSONResponse:
        return JSONResponse({"id": int(request.path_params["item_id"]), "name": "a thing", "price": 3.5})

    return Starlette(routes=[Route("/items/{item_id}", item)])


def with_route(app: FastAPI, *dependencies: Any, compiled: bool = False) -> FastAPI:
    if compiled:
        app.router.route_class = CompiledRoute

    @app.get("/items/{item_id}", dependencies=list(dependencies))
    async def item(item_id: int) -> Item:
        return Item(id=item_id, name="a thing", price=3.5)

    return app


def app_with(*middlewares: Middleware, compiled: bool = False, **options: Any) -> FastAPI:
    return with_route(FastAPI(middleware=Stack(*middlewares), openapi_url=None, **options), compiled=compiled)


def log_to_file(**options: Any) -> None:
    configure_logging("json", stream=open(os.environ["BENCHMARK_LOG"], "a", encoding="utf-8"), **options)  # noqa: SIM115, PTH123 - as long as the process lives.


def parts() -> dict[str, Middleware]:
    return {
        "request_id": Middleware(RequestIdMiddleware),
        "timing": Middleware(TimingMiddleware),
        "access_log": Middleware(AccessLogMiddleware),
        "security_headers": Middleware(SecurityHeadersMiddleware),
        "cors": Middleware(CORSMiddleware, allow_origins=ORIGINS),
        "errors": Middleware(ErrorsMiddleware),
        "rate_limit": Middleware(RateLimitMiddleware, limits=[RateLimit(RATE)], limiter=MemoryLimiter()),
        "body_limit": Middleware(BodyLimitMiddleware, max_bytes=1_048_576),
    }


def part(name: str) -> Callable[[], FastAPI]:
    def make() -> FastAPI:
        log_to_file()
        return app_with(parts()[name])

    return make


request_id, timing, access_log = part("request_id"), part("timing"), part("access_log")
security_headers, cors, errors = part("security_headers"), part("cors"), part("errors")
rate_limit, body_limit = part("rate_limit"), part("body_limit")


def bare() -> FastAPI:
    return app_with()


def compiled() -> FastAPI:
    return app_with(compiled=True)


def compiled_short() -> FastAPI:
    """The same, found by the middleware that looks for compiled routes."""
    return app_with(Middleware(CompiledRoutesMiddleware), compiled=True)


# The server sends the stack's fourteen headers (`serving.py`): what they cost, whoever makes them.
headers, headers_compiled = bare, compiled_short


def headers_steps() -> FastAPI:
    """The same and eight dependencies that do nothing, in the form of those that find a user with a role."""

    async def session(connection: HTTPConnection) -> None: ...

    async def optional_principal(connection: HTTPConnection, session: Annotated[None, Depends(session)]) -> None: ...

    async def token() -> None: ...

    async def cookie() -> None: ...

    async def current_principal(
        connection: HTTPConnection,
        principal: Annotated[None, Depends(optional_principal)],
        token: Annotated[None, Depends(token)],
        cookie: Annotated[None, Depends(cookie)],
    ) -> None: ...

    async def current_user(principal: Annotated[None, Depends(current_principal)]) -> None: ...

    async def shown() -> None: ...

    async def require_role(
        connection: HTTPConnection,
        user: Annotated[None, Depends(current_user)],
        shown: Annotated[None, Depends(shown)],
    ) -> None: ...

    return with_route(FastAPI(openapi_url=None), Depends(require_role))


def stack(*, is_compiled: bool = False, lifespan: Any = None, dependencies: Any = (), **log: Any) -> FastAPI:
    log_to_file(**log)
    short = [Middleware(CompiledRoutesMiddleware)] if is_compiled else []
    app = FastAPI(middleware=Stack(*parts().values(), *short), openapi_url=None, lifespan=lifespan)
    install_error_handlers(app)
    return with_route(app, *dependencies, compiled=is_compiled)


def stack_buffered() -> FastAPI:
    """The same, with log lines that wait up to 50 ms for each other, as in production."""
    return stack(flush_seconds=0.05)


def stack_compiled() -> FastAPI:
    return stack(is_compiled=True)


def stack_compiled_buffered() -> FastAPI:
    return stack(is_compiled=True, flush_seconds=0.05)


class Base(DeclarativeBase):
    pass


class User(UserMixin, Base):
    __tablename__ = "users"


def with_accounts(*, cached: bool = True, **options: Any) -> FastAPI:
    """A token, its user and a role, by hardpoint's dependencies."""
    models = AuthModels.beside(User)
    database = Resource("database", lambda _: open_database(database_url("hardpoint")))

    @asynccontextmanager
    async def open_auth(opened: Opened) -> AsyncIterator[Auth[User]]:
        await opened[database].create_tables(Base.metadata)
        common: dict[str, Any] = {"models": models, "secret": SECRET, "require_verified_email": False}
        async with open_principal_cache(MemoryBroadcast()) as cache:
            auth = Auth(**common, cache=cache if cached else None)
            async with opened[database].session() as session:
                for email, role in ROLES.items():
                    await auth.create_user(session, email=email, password=PASSWORD, role=role)
            yield auth

    require_role = Roles("user", "admin").require
    lifespan = Lifespan(database, Resource("auth", open_auth))
    app = stack(lifespan=lifespan, dependencies=[Depends(require_role("admin"))], **options)
    app.include_router(auth_router())
    return app


def auth() -> FastAPI:
    return with_accounts()


def auth_buffered() -> FastAPI:
    return with_accounts(flush_seconds=0.05)


def auth_uncached() -> FastAPI:
    """A query for each request: what a cache miss costs."""
    return with_accounts(cached=False)


def auth_compiled() -> FastAPI:
    return with_accounts(is_compiled=True)


def auth_compiled_buffered() -> FastAPI:
    return with_accounts(is_compiled=True, flush_seconds=0.05)
