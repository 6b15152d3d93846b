"""Limits as they are declared: on a service, on routes and routers, on a socket's messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.testclient import WebSocketDenialResponse

from hardpoint.errors import NotFound, RateLimited, ServiceUnavailable, install_error_handlers
from hardpoint.ratelimit import (
    Bucket,
    Charge,
    FailureLimiter,
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
from support.asgi import call, client_of, http_scope, logged


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
    "options",
    [
        {"rate": "1/minute", "cost": 2},
        {"rate": "1/minute", "cost": 0},
        {"rate": "9/minute", "cost": 1.5},
        {"rate": "9/minute", "cost": True},
        {"rate": "1/fortnight"},
        {"rate": "9/minute", "burst": -1},
        {"rate": "9/minute", "burst": 2.5},
        {"rate": "9/minute", "name": 'a "quoted" name'},
        {"rate": "999999999/day", "burst": 999_999_999},
    ],
)
def test_a_limit_that_cannot_be_is_refused_when_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cost|not a rate|burst|name"):
        RateLimit(**options)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RateLimit(10), "rate takes .* '10/minute', not a int"),
        (lambda: RateLimits("5/minute"), r"'5/minute' is no limit; write RateLimits\(RateLimit"),
        (lambda: RateLimits([RateLimit("5/minute")]), r"is no limit; write RateLimits\(RateLimit"),
        (lambda: FailureLimiter(MemoryLimiter(), "10/minute"), "rate takes Rate.parse.* not a str"),
        (lambda: FailureLimiter(MemoryLimiter(), RateLimit("10/minute")), "rate takes Rate.parse.* not a RateLimit"),
        (
            lambda: FailureLimiter(MemoryLimiter, Rate.parse("10/minute")),
            r"limiter takes MemoryLimiter\(\).* not the class",
        ),
        (lambda: FailureLimiter("10/minute", MemoryLimiter()), "limiter takes MemoryLimiter.* not a str"),
        (lambda: Bucket("10/second"), "rate takes Rate.parse.* not a str"),
        (lambda: RateLimitMiddleware(make_app(), limits="5/minute"), r"takes a list; write limits=\[RateLimit"),
        (lambda: RateLimitMiddleware(make_app(), limits=RateLimit("5/minute")), "takes a list"),
        (lambda: RateLimitMiddleware(make_app(), limiter=MemoryLimiter), "limiter takes MemoryLimiter.* not the class"),
    ],
)
def test_what_is_something_else_is_refused_with_what_to_write(make: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        make()


def test_no_limits_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RateLimits()
    with pytest.raises(ValueError, match="at least one"):
        RateLimitMiddleware(make_app(), limits=[])
    with pytest.raises(TypeError, match=r"write RateLimit\('600/minute'\)"):
        RateLimitMiddleware(make_app(), limits=["600/minute"])  # type: ignore[list-item]


@pytest.mark.parametrize("key", [by_name, by_route, by_address_and_route, lambda connection, name: name])
def test_a_middleware_takes_no_key_that_it_cannot_know(key: Any) -> None:
    with pytest.raises(ValueError, match="connection alone"):
        RateLimitMiddleware(make_app(), limits=[RateLimit("1/minute", key=key)])


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


async def test_a_rate_given_as_such_is_taken_and_its_name_and_burst_may_be_others() -> None:
    rate = Rate(2, 10, burst=5, name="mine")
    assert RateLimit(rate).rate == rate
    assert RateLimit(rate).rate.window_seconds == 25
    assert RateLimit(rate, burst=7, name="yours").rate == Rate(2, 10, burst=7, name="yours")
    assert RateLimit(rate, burst=0).rate.burst == 2


class ByObject:
    async def __call__(self, connection: HTTPConnection) -> str:
        return connection.headers.get("x-name", "")


@pytest.mark.parametrize(
    "key",
    [lambda connection: connection.headers.get("x-name", ""), ByObject(), by_name],
    ids=["plain", "object", "dep"],
)
async def test_a_key_is_any_function(key: Any) -> None:
    limit = RateLimit("1/hour", key=key)
    app = FastAPI(middleware=[Middleware(RateLimitMiddleware)])

    @app.get("/", dependencies=[Depends(limit)])
    async def root() -> None: ...

    async with client_of(with_limiter(app)) as client:
        for name, status in [("a", 200), ("a", 429), ("b", 200)]:
            answer = await client.get("/", headers={"X-Name": name}, params={"x_name": name})
            assert answer.status_code == status


def with_limiter(app: Any, limiter: Any = None) -> Any:
    """`app` as a lifespan would leave it, without running one."""
    state = {"limiter": limiter if limiter is not None else MemoryLimiter()}

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state


def limits_told(answer: httpx2.Response) -> str:
    """What the headers say, each of which is there once and agrees with the others."""
    told = answer.headers
    for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"):
        assert len(told.get_list(name)) == 1, name
    name, remaining, reset = told["ratelimit"].split(";")
    assert (remaining, reset) == (f"r={told['x-ratelimit-remaining']}", f"t={told['x-ratelimit-reset']}")
    assert told["ratelimit-policy"].startswith(f"{name};q={told['x-ratelimit-limit']};w=")
    assert ("retry-after" in told) is (answer.status_code == 429)
    return f"{name} {remaining}"


def app_of_all_answers(*dependencies: Any, **options: Any) -> FastAPI:
    app = FastAPI(dependencies=dependencies, **options)
    install_error_handlers(app)

    @app.get("/value")
    async def value() -> str:
        return "value"

    @app.get("/response")
    async def response() -> Response:
        return PlainTextResponse("mine")

    @app.get("/stream")
    async def stream() -> Response:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/error")
    async def error() -> None:
        raise NotFound

    @app.get("/foreign-error")
    async def foreign_error() -> None:
        raise HTTPException(429, "mine")

    @app.get("/invalid")
    async def invalid(number: int) -> None: ...

    return app


ANSWERS = {"value": 200, "response": 200, "stream": 200, "error": 404, "foreign-error": 429, "invalid": 422}


@pytest.mark.parametrize("path", ANSWERS)
async def test_with_the_middleware_every_answer_tells_what_a_dependency_left(path: str) -> None:
    limit = RateLimit("9/hour", name="dependency")
    app = app_of_all_answers(Depends(limit), middleware=[Middleware(RateLimitMiddleware)])
    async with client_of(with_limiter(app)) as client:
        answer = await client.get(f"/{path}")
        assert answer.status_code == ANSWERS[path]
        assert answer.headers["ratelimit"] == '"dependency";r=8;t=400'
        # What no limit has met says nothing.
        assert "ratelimit" not in (await client.get("/nowhere")).headers


@pytest.mark.parametrize(
    ("around", "within", "told"),
    [
        ("100/hour", "9/hour", '"within" r=8'),
        ("9/hour", "100/hour", '"around" r=8'),
        ("9/hour", "9/hour", '"within" r=8'),
    ],
)
async def test_of_a_middleware_and_a_dependency_the_tighter_is_told(around: str, within: str, told: str) -> None:
    app = app_of_all_answers(
        Depends(RateLimit(within, name="within")),
        middleware=[Middleware(RateLimitMiddleware, limits=[RateLimit(around, name="around")])],
    )
    async with client_of(with_limiter(app)) as client:
        assert limits_told(await client.get("/value")) == told
        assert limits_told(await client.get("/nowhere")).startswith('"around"')
        answer = await client.get("/value")
        while answer.status_code != 429:
            answer = await client.get("/value")
        assert limits_told(answer).endswith("r=0")


@pytest.mark.parametrize(("first", "second"), [("9/hour", "5/hour"), ("5/hour", "9/hour")])
async def test_of_two_dependencies_the_tighter_is_told_without_the_middleware_too(first: str, second: str) -> None:
    app = app_of_all_answers(Depends(RateLimit(first, name=first[0])), Depends(RateLimit(second, name=second[0])))
    async with client_of(with_limiter(app)) as client:
        assert limits_told(await client.get("/value")) == '"5" r=4'


async def test_a_middleware_between_may_copy_the_scope() -> None:
    class Copying:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(dict(scope), receive, send)

    app = app_of_all_answers(
        Depends(RateLimit("5/hour", name="within")),
        middleware=[Middleware(RateLimitMiddleware, limits=[RateLimit("9/hour")]), Middleware(Copying)],
    )
    async with client_of(with_limiter(app)) as client:
        assert limits_told(await client.get("/value")) == '"within" r=4'


@pytest.mark.parametrize("as_dependency", [False, True])
async def test_whoever_waits_for_as_long_as_told_is_let_in(*, as_dependency: bool) -> None:
    now = 1_000_000.0
    limit = RateLimit("7/minute", burst=2)
    app = app_of_all_answers(
        *([Depends(limit)] if as_dependency else []),
        middleware=[] if as_dependency else [Middleware(RateLimitMiddleware, limits=[limit])],
    )
    async with client_of(with_limiter(app, MemoryLimiter(clock=lambda: now))) as client:
        assert [(await client.get("/value")).status_code for _ in range(3)] == [200, 200, 429]
        refused = await client.get("/value")
        assert refused.json()["code"] == "RATE_LIMITED"
        assert limits_told(refused) == '"default" r=0'
        # A seventh of a minute is 8.57 seconds.
        assert refused.headers["retry-after"] == "9"
        now += 8
        assert (await client.get("/value")).status_code == 429
        now += 1
        assert (await client.get("/value")).status_code == 200


async def test_a_refused_request_is_answered_before_its_body_is_read() -> None:
    limiter, limit = MemoryLimiter(), RateLimit("1/hour")
    app = RateLimitMiddleware(app_of_all_answers(), limits=[limit], limiter=limiter)
    assert (await call(app, http_scope("/value")))[0]["status"] == 200

    async def receive() -> Any:
        raise AssertionError("The body was asked for")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(http_scope("/value", "POST", [("Content-Length", "1000000")]), receive, send)
    assert sent[0]["status"] == 429


@pytest.mark.parametrize(
    ("scope", "is_charged"),
    [
        (http_scope("/health"), False),
        (http_scope("/health", "OPTIONS"), False),
        (http_scope("/api/health", root_path="/api"), False),
        (http_scope("/health", root_path="/api"), False),
        (http_scope("/api/health"), True),
        (http_scope("//health"), True),
        (http_scope("/health/"), True),
        (http_scope("/apihealth", root_path="/ap"), True),
        (
            http_scope("/x", "OPTIONS", [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")]),
            False,
        ),
        (http_scope("/x", "OPTIONS"), True),
        (http_scope("/x", "OPTIONS", [("Origin", "https://a.example")]), True),
        (http_scope("/x", "OPTIONS", [("Access-Control-Request-Method", "PUT")]), True),
        (http_scope("/x", "GET", [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")]), True),
        (http_scope("/x", "HEAD"), True),
        (http_scope("/x", "PROPFIND"), True),
    ],
)
async def test_health_checks_and_preflights_are_not_charged_and_nothing_else(
    scope: dict[str, Any], *, is_charged: bool
) -> None:
    limiter = MemoryLimiter()
    app = RateLimitMiddleware(
        PlainTextResponse("ok"), limits=[RateLimit("1/hour")], limiter=limiter, exempt_paths=["/health"]
    )
    statuses = [(await call(app, {**scope}))[0]["status"] for _ in range(2)]
    assert statuses == [200, 429 if is_charged else 200]


def websocket_scope(**more: Any) -> dict[str, Any]:
    return {**http_scope("/socket"), "type": "websocket", "scheme": "ws", "subprotocols": [], **more}


async def test_opening_a_socket_is_charged_like_a_request() -> None:
    async def accepts(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    limiter = MemoryLimiter()
    app = RateLimitMiddleware(accepts, limits=[RateLimit("1/hour")], limiter=limiter)
    assert [message["type"] for message in await call(app, websocket_scope())] == ["websocket.accept"]
    assert await call(app, websocket_scope()) == [{"type": "websocket.close", "code": 1013}]
    start, body = await call(app, websocket_scope(extensions={"websocket.http.response": {}}))
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert (b"retry-after", b"3600") in start["headers"]
    assert b"RATE_LIMITED" in body["body"]
    # One and the same bucket.
    assert (await call(app, http_scope()))[0]["status"] == 429


class Away:
    """A limiter whose store is away, and whose fallback is not asked."""

    async def hit(self, *charges: Charge) -> Any:
        assert [charge.needs_store for charge in charges] == [True]
        raise ServiceUnavailable(retry_after_seconds=1)

    async def reset(self, *charges: Charge) -> None: ...


@pytest.mark.parametrize("as_dependency", [False, True])
async def test_a_limit_that_needs_its_store_answers_503_without_it(*, as_dependency: bool) -> None:
    limit = RateLimit("9/hour", needs_store=True)
    app = app_of_all_answers(
        *([Depends(limit)] if as_dependency else []),
        middleware=[] if as_dependency else [Middleware(RateLimitMiddleware, limits=[limit])],
    )
    async with client_of(with_limiter(app, Away())) as client:
        answer = await client.get("/value")
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_without_a_limiter_of_a_lifespan_the_application_counts_in_memory() -> None:
    limit = RateLimit("2/hour")

    async def ask(*dependencies: Any, **options: Any) -> list[int]:
        async with client_of(app_of_all_answers(*dependencies, **options)) as client:
            return [(await client.get("/value")).status_code for _ in range(3)]

    around = [Middleware(RateLimitMiddleware, limits=[limit])]
    with logged() as log:
        assert await ask(Depends(limit)) == [200, 200, 429]
        assert await ask(middleware=around) == [200, 200, 429]
        # The same limiter, and so the same bucket.
        assert await ask(Depends(limit), middleware=around) == [200, 429, 429]
    assert len(log.fields("limits_in_memory")) == 3


async def test_where_there_is_no_application_a_limiter_must_be_given() -> None:
    app = RateLimitMiddleware(PlainTextResponse("ok"), limits=[RateLimit("9/hour")])
    with pytest.raises(RuntimeError, match='"limiter": MemoryLimiter'):
        await call(app, http_scope("/value"))


@pytest.mark.parametrize("given", [7, None, b"bytes", ["list"]])
async def test_a_key_that_gives_no_text_is_the_callers_error(given: Any) -> None:
    limit = RateLimit("9/hour", key=lambda connection: given)
    with pytest.raises(TypeError, match=f"must be a text, not {type(given).__name__}"):
        await limit.check(HTTPConnection(http_scope()), limiter=MemoryLimiter())


async def test_a_check_outside_of_dependencies_says_whom_it_charges() -> None:
    limit, limiter = RateLimit("2/hour", key=by_name), MemoryLimiter()
    connection = HTTPConnection(http_scope(state={"limiter": MemoryLimiter()}))
    with pytest.raises(TypeError, match="say whom to charge"):
        await limit.check(connection)
    # The limiter that is given, empty as it is, and not the state's.
    assert (await limit.check(connection, limiter=limiter, key="ann")).remaining == 1
    assert (await limit.check(connection, limiter=limiter, key="ann")).remaining == 0
    with pytest.raises(RateLimited):
        await limit.check(connection, limiter=limiter, key="ann")
    assert (await limit.check(connection, key="ann")).remaining == 1
