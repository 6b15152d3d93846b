"""Limits as they are declared: on a service, on routes and routers, on a socket's messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.testclient import WebSocketDenialResponse

from hardpoint.errors import RateLimited, install_error_handlers
from hardpoint.ratelimit import (
    MemoryLimiter,
    Rate,
    RateLimit,
    RateLimitMiddleware,
    RateLimits,
    by_address,
    by_address_and_route,
    by_nothing,
    by_route,
)
from support.asgi import client_of


@asynccontextmanager
async def state(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    yield {"limiter": MemoryLimiter()}


async def by_name(x_name: str = "nobody") -> str:
    return x_name


def make_app() -> FastAPI:
    app = FastAPI(lifespan=state)
    install_error_handlers(app)
    router = APIRouter(dependencies=[Depends(RateLimit("3/hour", name="router"))])

    @router.get("/things/{name}")
    async def thing(name: str) -> str:
        return name

    @router.get("/others")
    async def others() -> str:
        return "others"

    app.include_router(router, prefix="/routed")

    @app.get("/named", dependencies=[Depends(RateLimit("2/hour", key=by_name))])
    async def named() -> str:
        return "named"

    @app.get("/route/{name}", dependencies=[Depends(RateLimit("2/hour", key=by_route))])
    async def route(name: str) -> str:
        return name

    @app.get("/mine", dependencies=[Depends(RateLimit("1/hour", key=by_address_and_route))])
    @app.get("/mine-too", dependencies=[Depends(RateLimit("1/hour", key=by_address_and_route))])
    async def mine() -> None: ...

    tight = RateLimit("2/hour", name="tight", key=by_name)
    wide = RateLimit("4/day", name="wide", key=by_nothing)

    @app.get("/both", dependencies=[Depends(RateLimits(tight, wide))])
    async def both() -> str:
        return "both"

    messages = RateLimit("2/hour", name="messages")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.receive_text()
                await messages.check(websocket)
                await websocket.send_text("ok")
        except RateLimited:
            await websocket.close(4029)

    @app.websocket("/knock", dependencies=[Depends(RateLimit("1/hour", name="knock"))])
    async def knock(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    return app


def test_a_router_has_a_limit_for_all_of_its_routes() -> None:
    with TestClient(make_app()) as client:
        assert [client.get(f"/routed/things/{number}").status_code for number in range(2)] == [200, 200]
        third = client.get("/routed/others")
        assert third.headers["x-ratelimit-remaining"] == "0"
        assert third.headers["ratelimit-policy"] == '"router";q=3;w=3600'
        refused = client.get("/routed/others")
        assert refused.status_code == 429
        assert refused.json()["code"] == "RATE_LIMITED"
        assert 1 <= int(refused.headers["retry-after"]) <= 1200
        assert refused.headers["ratelimit"].startswith('"router";r=0;t=')


def test_a_key_is_a_dependency_with_parameters_of_its_own() -> None:
    with TestClient(make_app()) as client:
        assert [client.get("/named?x_name=ann").status_code for _ in range(3)] == [200, 200, 429]
        assert client.get("/named?x_name=ben").status_code == 200


def test_a_route_is_one_however_its_path_is_filled() -> None:
    with TestClient(make_app()) as client:
        assert [client.get(f"/route/{number}").status_code for number in range(3)] == [200, 200, 429]


def test_several_limits_are_charged_together_or_not_at_all() -> None:
    with TestClient(make_app()) as client:
        statuses = [client.get("/both?x_name=ann").status_code for _ in range(5)]
        assert statuses == [200, 200, 429, 429, 429]
        # The refused ones have not used up what everybody shares.
        assert [client.get(f"/both?x_name={name}").status_code for name in "abc"] == [200, 200, 429]


def test_messages_of_a_socket_are_limited() -> None:
    with TestClient(make_app()) as client, client.websocket_connect("/socket") as socket:
        for _ in range(2):
            socket.send_text("hello")
            assert socket.receive_text() == "ok"
        socket.send_text("hello")
        assert socket.receive() == {"type": "websocket.close", "code": 4029, "reason": ""}


def test_a_socket_over_its_limit_is_refused_before_it_is_accepted() -> None:
    with TestClient(make_app()) as client:
        with client.websocket_connect("/knock"):
            pass
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/knock"):
            pass
        assert refused.value.status_code == 429
        assert refused.value.json()["code"] == "RATE_LIMITED"


def test_limits_can_be_overridden_like_any_dependency() -> None:
    app = make_app()
    limit = RateLimit("1/hour")

    @app.get("/overridden", dependencies=[Depends(limit)])
    async def overridden() -> None: ...

    app.dependency_overrides[limit] = lambda: None
    with TestClient(app) as client:
        assert {client.get("/overridden").status_code for _ in range(3)} == {200}


@pytest.mark.parametrize(
    "options", [{"rate": "1/minute", "cost": 2}, {"rate": "1/minute", "cost": 0}, {"rate": "1/fortnight"}]
)
def test_a_limit_that_cannot_be_is_refused_when_it_is_written(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="cost|not a rate"):
        RateLimit(**options)  # type: ignore[arg-type]


def test_no_limits_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RateLimits()
    with pytest.raises(ValueError, match="at least one"):
        RateLimitMiddleware(make_app(), limits=[])


def test_a_middleware_takes_no_key_that_it_cannot_know() -> None:
    async def by_two(request: Request, name: Annotated[str, Depends(by_name)]) -> str:
        return name

    with pytest.raises(ValueError, match="connection alone"):
        RateLimitMiddleware(make_app(), limits=[RateLimit("1/minute", key=by_two)])


async def test_a_middleware_charges_several_limits_by_keys_of_their_own() -> None:
    def by_header(connection: HTTPConnection) -> str:
        return connection.headers.get("x-name", "")

    app = FastAPI(
        middleware=[
            Middleware(
                RateLimitMiddleware,
                limits=[RateLimit("3/hour", key=by_address), RateLimit("2/hour", name="name", key=by_header)],
                limiter=MemoryLimiter(),
                exempt_paths=["/free"],
            )
        ]
    )

    @app.api_route("/", methods=["GET", "HEAD"])
    @app.get("/free")
    async def root() -> None: ...

    async with client_of(app) as client:
        preflight = {"Access-Control-Request-Method": "GET", "Origin": "https://app.example.com"}
        for _ in range(5):
            assert (await client.get("/free")).status_code == 200
            assert "x-ratelimit-limit" not in (await client.options("/", headers=preflight)).headers
        assert (await client.get("/", headers={"X-Name": "ann"})).headers["x-ratelimit-remaining"] == "1"
        assert (await client.head("/", headers={"X-Name": "ann"})).status_code == 200
        by_name_refused = await client.get("/", headers={"X-Name": "ann"})
        assert by_name_refused.status_code == 429
        assert '"name"' in by_name_refused.headers["ratelimit"]
        assert (await client.get("/", headers={"X-Name": "ben"})).status_code == 200
        assert (await client.get("/", headers={"X-Name": "cleo"})).status_code == 429


async def test_a_rate_given_as_such_is_taken() -> None:
    assert RateLimit(Rate(2, 10, burst=5)).rate.window_seconds == 25
