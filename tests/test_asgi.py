"""Parts run as one exactly as they do one by one, and an exchange keeps its promises."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from hardpoint import context
from hardpoint.asgi import Exchange, Part
from hardpoint.errors import NotFound
from hardpoint.lifespan import Drain, DrainMiddleware
from hardpoint.metrics import Metrics, MetricsMiddleware
from hardpoint.middleware import (
    AccessLogMiddleware,
    BodyLimitMiddleware,
    ClientAddressMiddleware,
    CORSMiddleware,
    ErrorsMiddleware,
    RequestIdMiddleware,
    SecurityHeadersMiddleware,
    TimeLimitMiddleware,
    TimingMiddleware,
    TracingMiddleware,
)
from hardpoint.openapi import DeprecationMiddleware
from hardpoint.ratelimit import MemoryLimiter, Rate, RateLimit, RateLimitMiddleware
from support.asgi import call, http_scope, logged

ORIGIN = "https://a.example"


class Apart:
    """A foreign middleware, which keeps the parts around it from running as one."""

    def __init__(self, app: Any) -> None:
        self.inside = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.inside(scope, receive, send)


def parts() -> list[Middleware]:
    def still() -> float:
        return 1.0

    return [
        Middleware(ClientAddressMiddleware, trusted=["203.0.113.0/24"]),
        Middleware(RequestIdMiddleware, generate=lambda: "made-up"),
        Middleware(TracingMiddleware),
        Middleware(TimingMiddleware, clock=still),
        Middleware(MetricsMiddleware, metrics=Metrics()),
        Middleware(AccessLogMiddleware, clock=still),
        Middleware(DrainMiddleware),
        Middleware(SecurityHeadersMiddleware),
        Middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_credentials=True),
        Middleware(DeprecationMiddleware),
        Middleware(ErrorsMiddleware),
        Middleware(TimeLimitMiddleware, seconds=0.2),
        Middleware(RateLimitMiddleware, limits=[RateLimit(Rate(2, 60))], limiter=MemoryLimiter(clock=still)),
        Middleware(BodyLimitMiddleware, max_bytes=10),
    ]


def around(app: Any, *, apart: bool, kinds: Any = None) -> Any:
    for middleware in reversed(parts()):
        if kinds is None or middleware.cls in kinds:
            app = middleware.cls(Apart(app) if apart else app, **middleware.kwargs)
    return app


async def ok(scope: Any, receive: Any, send: Any) -> None:
    context.principal.set("user:7")
    headers = {"Vary": "Accept", "X-Frame-Options": "mine", "X-Request-ID": "forged", "Set-Cookie": "a=b"}
    await PlainTextResponse("ok", headers=headers)(scope, receive, send)


async def crash(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("secret")


async def crash_late(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Upper", b"case")]})
    raise ZeroDivisionError


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    raise NotFound


async def hang(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def read(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await PlainTextResponse(str(size))(scope, receive, send)


async def swallow(scope: Any, receive: Any, send: Any) -> None:
    try:
        await read(scope, receive, send)
    except Exception:
        await PlainTextResponse("fine", status_code=400)(scope, receive, send)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"x" * number, "more_body": number < 2})


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Answers nothing at all."""


APPS = [ok, crash, crash_late, refuse, hang, read, swallow, stream, silent]
SCOPES: list[dict[str, Any]] = [
    http_scope(),
    http_scope(headers=[("X-Request-ID", "given"), ("Origin", ORIGIN), ("Authorization", "Bearer x")]),
    http_scope(scheme="https", headers=[("Origin", "https://other.example"), ("X-Forwarded-For", "198.51.100.1")]),
    http_scope(method="OPTIONS", headers=[("Origin", ORIGIN), ("Access-Control-Request-Method", "GET")]),
    http_scope(method="POST", headers=[("Content-Length", "11")]),
]
BODIES: list[list[int]] = [[], [3, 4], [8, 8]]


async def outcome(app: Any, scope: dict[str, Any], sizes: list[int]) -> Any:
    """Everything that the outside can see of three requests."""
    drain = Drain()
    seen: list[Any] = []
    with logged() as records:
        for _ in range(3):
            body = [
                {"type": "http.request", "body": b"x" * size, "more_body": place < len(sizes) - 1}
                for place, size in enumerate(sizes)
            ]
            mine = {**scope, "headers": list(scope["headers"]), "state": {"drain": drain}}
            try:
                seen.append(await call(app, mine, *body))
            except Exception as error:
                seen.append(type(error))
            assert drain.in_flight == 0
            assert context.request_id.get() is None
            context.principal.set(None)
    events = [(getattr(record, "event", None), getattr(record, "fields", {})) for record in records.records]
    return seen, events


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.__name__)
@pytest.mark.parametrize("scope", range(len(SCOPES)))
async def test_parts_in_one_run_do_what_they_do_one_by_one(app: Any, scope: int) -> None:
    for sizes in BODIES:
        together = await outcome(around(app, apart=False), SCOPES[scope], sizes)
        apart = await outcome(around(app, apart=True), SCOPES[scope], sizes)
        assert together == apart
        assert len(together[0]) == 3


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from([middleware.cls for middleware in parts()])), st.sampled_from(APPS[:4]))
def test_any_choice_of_parts_does_too(kinds: Any, app: Any) -> None:
    async def compare() -> None:
        for scope in SCOPES[:4]:
            together = await outcome(around(app, apart=False, kinds=kinds), scope, [3])
            assert together == await outcome(around(app, apart=True, kinds=kinds), scope, [3])

    asyncio.run(compare())


async def socket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    while message["type"] == "websocket.receive":
        if message["text"] == "crash":
            raise ZeroDivisionError
        await send({"type": "websocket.send", "text": message["text"]})
        message = await receive()


@pytest.mark.parametrize("texts", [[], ["a", "b"], ["a", "crash"]])
@pytest.mark.parametrize("app", [socket, crash, refuse], ids=lambda app: app.__name__)
async def test_a_socket_passes_parts_in_one_run_as_one_by_one(app: Any, texts: list[str]) -> None:
    scope = {**http_scope(), "type": "websocket", "scheme": "wss", "extensions": {"websocket.http.response": {}}}
    incoming = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)]
    incoming.append({"type": "websocket.disconnect", "code": 1001})
    found = []
    for apart in (False, True):
        with logged() as records:
            messages = await call(around(app, apart=apart), dict(scope), *(dict(message) for message in incoming))
        found.append((messages, [(record.event, record.fields) for record in records.records]))
    assert found[0] == found[1]
    assert found[0][0]


def test_adjacent_parts_find_each_other_and_a_foreign_one_ends_the_run() -> None:
    inner = TimingMiddleware(ok)
    outer = RequestIdMiddleware(inner)
    assert outer.parts == (outer, inner)
    assert outer.innermost is ok
    assert outer.app is inner
    foreign = Apart(inner)
    assert RequestIdMiddleware(foreign).innermost is foreign


async def test_a_part_that_overrides_the_call_is_left_alone() -> None:
    class Own(TimingMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("own")(scope, receive, send)

    messages = await call(RequestIdMiddleware(Own(ok)), http_scope())
    assert messages[1]["body"] == b"own"


class Noting(Part):
    """Notes the order of its hooks, and does what it is told."""

    def __init__(self, app: Any, *, name: str, notes: list[str], recovers: bool = False, answers: bool = False) -> None:
        super().__init__(app)
        self.name = name
        self.notes = notes
        self.recovers = recovers
        self.answers = answers

    async def on_request(self, exchange: Exchange) -> Any:
        self.notes.append(f"request {self.name}")
        exchange.notes[self] = self.name
        return PlainTextResponse(self.name) if self.answers else None

    def on_response(self, exchange: Exchange, message: Any) -> None:
        self.notes.append(f"response {exchange.notes[self]}")

    def on_error(self, exchange: Exchange, error: BaseException) -> Any:
        self.notes.append(f"{type(error).__name__} {self.name}")
        return PlainTextResponse("recovered") if self.recovers else None

    def on_end(self, exchange: Exchange) -> None:
        self.notes.append(f"end {exchange.notes[self]}")


def noting(notes: list[str], app: Any, **options: dict[str, Any]) -> Any:
    for name in "cba":
        app = Noting(app, name=name, notes=notes, **options.get(name, {}))
    return app


async def test_hooks_run_from_the_inside_out() -> None:
    notes: list[str] = []
    await call(noting(notes, ok), http_scope())
    assert notes == [f"request {n}" for n in "abc"] + [f"response {n}" for n in "cba"] + [f"end {n}" for n in "cba"]


async def test_a_part_that_answers_is_seen_by_those_outside_alone() -> None:
    notes: list[str] = []
    messages = await call(noting(notes, ok, b={"answers": True}), http_scope())
    assert messages[1]["body"] == b"b"
    assert notes == ["request a", "request b", "response a", "end a"]


async def test_a_failure_is_answered_by_the_first_that_can_and_seen_by_those_outside_of_it() -> None:
    notes: list[str] = []
    messages = await call(noting(notes, crash, b={"recovers": True}), http_scope())
    assert messages[1]["body"] == b"recovered"
    assert notes[3:] == ["ZeroDivisionError c", "ZeroDivisionError b", "response a", "end c", "end b", "end a"]


async def test_a_failure_that_nobody_answers_is_raised_and_ends_are_run() -> None:
    notes: list[str] = []
    with pytest.raises(ZeroDivisionError):
        await call(noting(notes, crash), http_scope())
    assert notes[3:] == [f"ZeroDivisionError {n}" for n in "cba"] + [f"end {n}" for n in "cba"]


class BreakingAtSuccess(Part):
    def on_response(self, exchange: Exchange, message: Any) -> None:
        if message["status"] == 200:
            raise ZeroDivisionError


async def test_a_part_that_fails_at_the_start_of_the_response_is_answered_for() -> None:
    messages = await call(RequestIdMiddleware(ErrorsMiddleware(BreakingAtSuccess(ok))), http_scope())
    assert [message.get("status") for message in messages] == [500, None]
    assert b"x-request-id" in dict(messages[0]["headers"])


async def test_exchanges_leave_nothing_to_the_garbage_collector() -> None:
    import gc

    app = around(ok, apart=False)
    await call(app, http_scope())
    gc.collect()
    gc.disable()
    try:
        # Other tests of this process may have left some that are still at work.
        before = [thing for thing in gc.get_objects() if isinstance(thing, Exchange)]
        await call(app, http_scope())
        await call(
            app, http_scope(method="POST", headers=[("Content-Length", "3")]), {"type": "http.request", "body": b"xxx"}
        )
        after = [thing for thing in gc.get_objects() if isinstance(thing, Exchange)]
        assert not [thing for thing in after if not any(thing is known for known in before)]
    finally:
        gc.enable()
