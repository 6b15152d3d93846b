"""Each part alone around an application that does nothing, without a server: what has become slower shows here.

make bench-parts
make bench-parts ARGS="--benchmark-compare"    against what `--benchmark-save=NAME` has kept
"""

import asyncio
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

sys.path.insert(0, str(Path(__file__).parent))

from apps.http import parts

from hardpoint.auth import AccessTokens, Key, KeySet
from hardpoint.lifespan import Drain, DrainMiddleware
from hardpoint.log import JsonFormatter, configure_logging
from hardpoint.log.lines import Event
from hardpoint.metrics import Metrics, MetricsMiddleware
from hardpoint.middleware import ClientAddressMiddleware, TimeLimitMiddleware, TracingMiddleware
from hardpoint.ratelimit import Charge, MemoryLimiter, Rate
from hardpoint.routing import CompiledRoute

SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/items/7",
    "raw_path": b"/items/7",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1"), (b"user-agent", b"probe"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 1234),
    "server": ("127.0.0.1", 80),
}
MESSAGES: list[Any] = [
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]},
    {"type": "http.response.body", "body": b"{}"},
]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
    for message in MESSAGES:
        await send(dict(message))


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    pass


def run(benchmark: Any, loop: asyncio.AbstractEventLoop, app: Any) -> None:
    """A hundred requests at a time, so that the loop itself does not count."""
    state = {"metrics": Metrics(), "drain": Drain()}

    async def hundred() -> None:
        for _ in range(100):
            await app({**SCOPE, "state": state.copy()}, receive, send)

    benchmark(lambda: loop.run_until_complete(hundred()))


OTHERS = {
    "client_address": Middleware(ClientAddressMiddleware, trusted=["127.0.0.1"]),
    "tracing": Middleware(TracingMiddleware),
    "metrics": Middleware(MetricsMiddleware),
    "drain": Middleware(DrainMiddleware),
    "time_limit": Middleware(TimeLimitMiddleware, seconds=30),
}


@pytest.mark.parametrize("name", ["nothing", *parts(), "all", *OTHERS])
def test_part(benchmark: Any, loop: asyncio.AbstractEventLoop, name: str) -> None:
    configure_logging("json", stream=io.StringIO())
    app: Any = nothing
    for key, middleware in reversed((parts() | OTHERS).items()):
        if name == key or (name == "all" and key not in OTHERS):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    run(benchmark, loop, app)


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
def test_route(benchmark: Any, loop: asyncio.AbstractEventLoop, route_class: Any) -> None:
    app, router = FastAPI(), APIRouter(route_class=route_class)

    @router.get("/items/{item_id}")
    async def item(item_id: int) -> dict[str, int]:
        return {"id": item_id}

    app.include_router(router)
    run(benchmark, loop, app)


@pytest.mark.parametrize("remembered", [10_000, 0])
def test_access_token(benchmark: Any, remembered: int) -> None:
    keys = KeySet(Key.from_secret(b"a secret of thirty-two bytes or more"))
    tokens = AccessTokens(keys, issuer="a", audience="b", max_remembered=remembered)
    token = tokens.issue(user_id=7, session_id="session")
    benchmark(tokens.verify, token)


def test_limiter_in_memory(benchmark: Any, loop: asyncio.AbstractEventLoop) -> None:
    limiter, charge = MemoryLimiter(), Charge(Rate(100_000_000, 60), "address:127.0.0.1")

    async def hundred() -> None:
        for _ in range(100):
            await limiter.hit(charge)

    benchmark(lambda: loop.run_until_complete(hundred()))


def test_log_line(benchmark: Any) -> None:
    fields = {"method": "GET", "path": "/items/7", "status": 200, "bytes": 40, "duration_ms": 0.53}
    event = Event(1_800_000_000.5, 20, "hardpoint.access", "request", fields, None, {"request_id": "0123456789abcdef"})
    benchmark(JsonFormatter().line, event)
