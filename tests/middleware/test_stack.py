import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware as StarletteCORSMiddleware
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from hardpoint import context
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import DrainMiddleware
from hardpoint.metrics import MetricsMiddleware
from hardpoint.middleware import (
    AccessLogMiddleware,
    BodyLimitMiddleware,
    ClientAddressMiddleware,
    CORSMiddleware,
    ErrorsMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
    Stack,
    StackOrderError,
    TimeLimitMiddleware,
    TimingMiddleware,
    TracingMiddleware,
    check_order,
)
from hardpoint.middleware.stack import _ROLES, _RULES
from hardpoint.ratelimit import MemoryLimiter, Rate, RateLimit, RateLimitMiddleware
from hardpoint.routing import CompiledRoutesMiddleware
from support.asgi import call, client_of, http_scope, logged
from support.servers import running_app

ORIGIN = "https://a.example"
PARTS = {
    "client address": Middleware(ClientAddressMiddleware),
    "request id": Middleware(RequestIdMiddleware),
    "tracing": Middleware(TracingMiddleware),
    "timing": Middleware(TimingMiddleware),
    "metrics": Middleware(MetricsMiddleware),
    "access log": Middleware(AccessLogMiddleware),
    "drain": Middleware(DrainMiddleware),
    "security headers": Middleware(SecurityHeadersMiddleware),
    "CORS": Middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_credentials=True),
    "errors": Middleware(ErrorsMiddleware),
    "time limit": Middleware(TimeLimitMiddleware, seconds=10),
    "rate limit": Middleware(RateLimitMiddleware, limits=[RateLimit(Rate(3, 60))], limiter=MemoryLimiter()),
    "body limit": Middleware(BodyLimitMiddleware, max_bytes=1000),
}


def full_stack() -> Stack:
    return Stack(*(part for role, part in PARTS.items() if role != "rate limit"))


def test_the_recommended_order_is_accepted_and_printed() -> None:
    stack = Stack(*PARTS.values())
    lines = str(stack).splitlines()
    assert [line.split()[1].partition("(")[0] for line in lines] == [part.cls.__name__ for part in PARTS.values()]
    assert "max_bytes=1000" in lines[-1]
    assert len(stack) == len(PARTS)
    assert stack[0].cls is ClientAddressMiddleware
    assert [part.cls for part in stack[1:3]] == [RequestIdMiddleware, TracingMiddleware]


def test_no_secret_of_anybodys_middleware_is_printed() -> None:
    class Foreign:
        def __init__(self, app: ASGIApp, **options: str) -> None: ...

    stack = Stack(Middleware(Foreign, secret_key="canary", store="redis://ann:canary@db:6379/0", name="shown"))
    for printed in (str(stack), repr(stack)):
        assert "canary" not in printed
        assert "secret_key=[redacted], store='redis://ann:[redacted]@db:6379/0', name='shown'" in printed


@pytest.mark.parametrize(("outer", "inner", "reason"), _RULES)
def test_each_rule_refuses_the_reverse_with_its_reason(outer: str, inner: str, reason: str) -> None:
    Stack(PARTS[outer], PARTS[inner])
    with pytest.raises(StackOrderError, match="must stand outside") as refused:
        Stack(PARTS[inner], PARTS[outer])
    assert reason in str(refused.value)


@given(st.permutations(list(PARTS)))
def test_an_order_is_accepted_exactly_when_it_breaks_no_rule(order: list[str]) -> None:
    broken = {(outer, inner) for outer, inner, _ in _RULES if order.index(outer) > order.index(inner)}
    faults = check_order([PARTS[role] for role in order])
    assert len(faults) == len(broken)
    if broken:
        with pytest.raises(StackOrderError):
            Stack(*(PARTS[role] for role in order))
    else:
        Stack(*(PARTS[role] for role in order))


def test_every_rule_is_about_parts_that_exist() -> None:
    roles = set(_ROLES.values())
    assert {role for rule in _RULES for role in rule[:2]} <= roles == {*PARTS, "compiled routes"}


def test_a_part_twice_is_refused_also_when_another_package_made_one() -> None:
    with pytest.raises(StackOrderError, match="already"):
        Stack(PARTS["CORS"], Middleware(StarletteCORSMiddleware))


def test_nothing_stands_between_the_short_way_and_the_routes() -> None:
    short, timing = Middleware(CompiledRoutesMiddleware), Middleware(TimingMiddleware)
    assert not check_order([timing, short])
    (fault,) = check_order([short, timing])
    assert str(fault).startswith("TimingMiddleware must stand outside of CompiledRoutesMiddleware")
    with pytest.raises(StackOrderError):
        Stack(short, timing)


def test_a_base_http_middleware_is_reported_and_not_refused() -> None:
    class Custom(BaseHTTPMiddleware):
        pass

    faults = check_order([Middleware(Custom), *PARTS.values()])
    assert [(fault.subject, fault.fatal) for fault in faults] == [("Custom", False)]
    Stack(Middleware(Custom), *PARTS.values())


def test_a_stack_is_installed_around_what_an_application_has() -> None:
    app = Starlette(middleware=[PARTS["body limit"]])
    Stack(PARTS["request id"], PARTS["errors"]).install(app)
    assert [part.cls for part in app.user_middleware] == [RequestIdMiddleware, ErrorsMiddleware, BodyLimitMiddleware]
    with pytest.raises(StackOrderError):
        Stack(PARTS["rate limit"], PARTS["CORS"]).install(Starlette(middleware=[PARTS["request id"]]))


async def test_a_stack_is_not_installed_on_an_application_that_serves() -> None:
    app = Starlette()
    await call(app, http_scope())
    with pytest.raises(RuntimeError, match="begun"):
        Stack().install(app)


async def set_in_dependency() -> AsyncIterator[str]:
    context.principal.set("user:7")
    yield "user:7"


def application(stack: Stack) -> FastAPI:
    app = FastAPI(middleware=stack)
    install_error_handlers(app)

    @app.get("/ok")
    async def ok(who: Annotated[str, Depends(set_in_dependency)]) -> dict[str, str | None]:
        return {"id": context.request_id.get(), "who": context.principal.get()}

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("secret")

    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    @app.post("/body")
    async def body(value: dict[str, Any]) -> int:
        return len(value)

    @app.get("/stream/{megabytes}")
    async def stream(megabytes: int) -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            block = b"x" * 1_048_576
            for _ in range(megabytes):
                yield block

        return StreamingResponse(parts())

    return app


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ok", 200),
        ("GET", "/crash", 500),
        ("GET", "/nothing", 404),
        ("POST", "/ok", 405),
        ("GET", "/number/x", 422),
        ("POST", "/body", 413),
    ],
)
async def test_every_answer_of_the_whole_stack_carries_every_header(method: str, path: str, status: int) -> None:
    content = json.dumps({"x": "y" * 2000}).encode() if path == "/body" else None
    with logged() as records:
        async with client_of(application(full_stack()), headers={"Origin": ORIGIN, "X-Request-ID": "abc"}) as client:
            answer = await client.request(method, path, content=content)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["x-request-id"] == "abc"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server-timing" in answer.headers
    assert "secret" not in answer.text
    assert [line["status"] for line in records.fields("request")] == [status]
    if status != 200:
        assert answer.json()["request_id"] == "abc"


async def test_what_a_dependency_sets_is_in_the_route_and_in_the_log() -> None:
    with logged() as records:
        async with client_of(application(full_stack())) as client:
            answer = await client.get("/ok", headers={"X-Request-ID": "abc"})
    assert answer.json() == {"id": "abc", "who": "user:7"}
    assert records.fields("request")[0]["principal"] == "user:7"
    context.principal.set(None)


async def test_a_429_carries_every_header_and_tells_when_to_come_back() -> None:
    limited = Middleware(RateLimitMiddleware, limits=[RateLimit(Rate(2, 60))], limiter=MemoryLimiter())
    stack = Stack(*(limited if role == "rate limit" else part for role, part in PARTS.items()))
    async with client_of(application(stack), headers={"Origin": ORIGIN}) as client:
        answers = [await client.get("/ok") for _ in range(3)]
        preflight = await client.options("/ok", headers={"Access-Control-Request-Method": "GET"})
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "RATE_LIMITED"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert answers[2].headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answers[2].headers
    assert preflight.status_code == 204


async def test_a_streamed_gibibyte_leaves_the_memory_flat() -> None:
    """Through the whole stack and a real socket, read as it comes."""
    received = 0
    async with (
        running_app(application(full_stack())) as url,
        httpx2.AsyncClient(base_url=url, timeout=120) as client,
        client.stream("GET", "/stream/1024") as answer,
    ):
        parts = answer.aiter_raw(65_536)
        async for part in parts:
            received += len(part)
            if received > 64 * 1_048_576:
                break
        # Warmed up: whatever grows from here on grows with the body.
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step = 0
        async for part in parts:
            received += len(part)
            step += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert received == 1024 * 1_048_576
    assert peak - before < 16 * 1_048_576


def test_the_rules_contradict_nothing() -> None:
    """There is an order that keeps them all: the recommended one."""
    order = list(PARTS)
    assert all(order.index(outer) < order.index(inner) for outer, inner, _ in _RULES)
    assert all(first != second for first, second in pairwise(order))


@pytest.mark.parametrize("one", [RequestIdMiddleware, [Middleware(RequestIdMiddleware)]])
def test_what_is_no_middleware_is_refused_with_what_to_write(one: Any) -> None:
    with pytest.raises(TypeError, match=r"write Stack\(Middleware\("):
        Stack(one)
