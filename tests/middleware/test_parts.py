"""Each part alone, around a bare application."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hardpoint import context
from hardpoint.errors import NotFound
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
)
from support.asgi import call, client_of, http_scope, logged

PARTS: list[tuple[Any, dict[str, Any]]] = [
    (RequestIdMiddleware, {}),
    (TimingMiddleware, {}),
    (AccessLogMiddleware, {}),
    (SecurityHeadersMiddleware, {}),
    (CORSMiddleware, {"allow_origins": ["https://a.example"]}),
    (ErrorsMiddleware, {}),
    (TimeLimitMiddleware, {"seconds": 30}),
    (BodyLimitMiddleware, {"max_bytes": 1000}),
    (ClientAddressMiddleware, {"trusted": ["10.0.0.0/8"]}),
]
ids = [part.__name__ for part, _ in PARTS]


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("ok")(scope, receive, send)


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_it_works_alone_by_add_middleware(part: Any, options: dict[str, Any], kind: Any) -> None:
    app = kind(routes=[Route("/", lambda _: PlainTextResponse("ok"))])
    app.add_middleware(part, **options)
    async with client_of(app) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (200, "ok")


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
async def test_a_lifespan_scope_passes_untouched(part: Any, options: dict[str, Any]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((dict(scope), receive, send))

    scope = {"type": "lifespan", "asgi": {}}
    receive, send = object(), object()
    await part(app, **options)(scope, receive, send)
    assert seen == [({"type": "lifespan", "asgi": {}}, receive, send)]


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
async def test_a_websocket_passes(part: Any, options: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await send({"type": "websocket.close", "code": 1000})

    scope = {**http_scope(), "type": "websocket", "scheme": "ws", "subprotocols": []}
    messages = await call(
        part(app, **options), scope, {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}
    )
    assert [message["type"] for message in messages] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert messages[1]["text"] == "hello"


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
async def test_bodies_stream_chunk_by_chunk(part: Any, options: dict[str, Any]) -> None:
    """Each chunk is passed on before the next is made, in both directions."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for number in range(3):
            body = (await receive())["body"]
            events.append(f"read {body.decode()}")
            if number == 0:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body, "more_body": number < 2})

    queue = [{"type": "http.request", "body": str(n).encode(), "more_body": n < 2} for n in range(3)]

    async def receive() -> Any:
        return queue.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            events.append(f"sent {message['body'].decode()}")

    await part(app, **options)(http_scope(method="POST"), receive, send)
    assert events == ["read 0", "sent 0", "read 1", "sent 1", "read 2", "sent 2"]


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
async def test_a_client_that_goes_away_cancels_cleanly(part: Any, options: dict[str, Any]) -> None:
    cleaned: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = asyncio.create_task(call(part(app, **options), http_scope()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


@pytest.mark.parametrize(("part", "options"), PARTS, ids=ids)
async def test_the_context_of_the_application_is_the_callers(part: Any, options: dict[str, Any]) -> None:
    """A variable that the application sets is seen above it: there is no task in between."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        context.principal.set("user:7")
        await ok(scope, receive, send)

    await call(part(app, **options), http_scope())
    assert context.principal.get() == "user:7"
    context.principal.set(None)


# Request id


@pytest.mark.parametrize("sent", ["a", "A-Z_0.9", "x" * 64])
async def test_a_well_formed_request_id_is_kept(sent: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((context.request_id.get(), Request(scope).state.request_id))
        await ok(scope, receive, send)

    messages = await call(RequestIdMiddleware(app), http_scope(headers=[("X-Request-ID", sent)]))
    assert (b"x-request-id", sent.encode()) in messages[0]["headers"]
    assert seen == [(sent, sent)]
    assert context.request_id.get() is None


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\nb", "a\r\nX: y", "é", "a\x00", "x" * 200_000, "a,b"])
async def test_any_other_request_id_is_replaced(sent: str) -> None:
    messages = await call(RequestIdMiddleware(ok), http_scope(headers=[("X-Request-ID", sent)]))
    values = [value for name, value in messages[0]["headers"] if name == b"x-request-id"]
    assert len(values) == 1
    assert len(values[0]) == 16
    assert values[0].isalnum()


async def test_the_application_cannot_answer_with_a_second_request_id() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok", headers={"X-Request-ID": "forged"})(scope, receive, send)

    messages = await call(RequestIdMiddleware(app, trust_inbound=False), http_scope(headers=[("X-Request-ID", "mine")]))
    values = [value for name, value in messages[0]["headers"] if name == b"x-request-id"]
    assert len(values) == 1
    assert values[0] not in {b"forged", b"mine"}


async def test_the_request_id_is_seen_in_a_thread() -> None:
    app = FastAPI()
    app.add_middleware(RequestIdMiddleware)

    @app.get("/")
    def in_thread() -> dict[str, str | None]:
        return {"id": context.request_id.get()}

    async with client_of(app) as client:
        assert (await client.get("/", headers={"X-Request-ID": "abc"})).json() == {"id": "abc"}


# Timing


async def test_the_timing_is_that_of_the_first_byte() -> None:
    moments = iter([10.0, 10.25])
    messages = await call(TimingMiddleware(ok, clock=lambda: next(moments)), http_scope())
    assert (b"server-timing", b"app;dur=250.00") in messages[0]["headers"]


# Access log


async def test_an_access_log_line_has_the_facts_and_no_secret() -> None:
    moments = iter([1.0, 1.5])
    scope = http_scope(
        "/posts",
        headers=[("Authorization", "Bearer canary"), ("Cookie", "session=canary"), ("User-Agent", "probe\nforged")],
        query_string=b"token=canary&limit=5",
    )
    middleware = AccessLogMiddleware(ok, clock=lambda: next(moments), log_query=["limit"])
    with logged() as records:
        await call(middleware, scope)
    assert records.fields("request") == [
        {
            "method": "GET",
            "path": "/posts",
            "status": 200,
            "bytes": 2,
            "complete": True,
            "duration_ms": 500.0,
            "client": "203.0.113.7",
            "user_agent": "probe\nforged",
            "query": {"limit": "5"},
        }
    ]


async def test_a_crash_and_an_unfinished_response_are_logged_as_incomplete() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with logged() as records, pytest.raises(ZeroDivisionError):
        await call(AccessLogMiddleware(app), http_scope())
    line = records.fields("request")[0]
    assert (line["status"], line["complete"]) == (200, False)


async def test_exempt_paths_are_not_logged_and_sockets_are_when_they_close() -> None:
    async def socket(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()

    with logged() as records:
        await call(AccessLogMiddleware(ok, exempt_paths=["/health"]), http_scope("/health"))
        scope = {**http_scope("/ws"), "type": "websocket"}
        await call(AccessLogMiddleware(socket), scope, {"type": "websocket.disconnect", "code": 1001})
    assert records.fields("request") == []
    line = records.fields("websocket")[0]
    assert (line["accepted"], line["close_code"]) == (True, 1001)


# Security headers


async def test_security_headers_are_added_and_what_the_application_says_stays() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("ok", headers={"Content-Security-Policy": "mine"})(scope, receive, send)

    headers = dict((await call(SecurityHeadersMiddleware(app), http_scope()))[0]["headers"])
    assert headers[b"content-security-policy"] == b"mine"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"strict-transport-security" not in headers
    assert b"cache-control" not in headers


async def test_hsts_over_https_alone_and_no_store_with_credentials() -> None:
    scope = http_scope(scheme="https", headers=[("Authorization", "Bearer x")])
    headers = dict((await call(SecurityHeadersMiddleware(ok), scope))[0]["headers"])
    assert headers[b"strict-transport-security"] == b"max-age=31536000; includeSubDomains"
    assert headers[b"cache-control"] == b"no-store"


async def test_overrides_change_add_and_remove_headers() -> None:
    overrides = {"X-Frame-Options": "", "Permissions-Policy": "camera=()", "referrer-policy": "origin"}
    headers = dict((await call(SecurityHeadersMiddleware(ok, overrides=overrides), http_scope()))[0]["headers"])
    assert b"x-frame-options" not in headers
    assert headers[b"permissions-policy"] == b"camera=()"
    assert headers[b"referrer-policy"] == b"origin"


@pytest.mark.parametrize("override", [{"X Frame": "a"}, {"X-A": "a\r\nSet-Cookie: a=b"}, {"X-A": "\u20ac"}, {"": "a"}])
def test_what_no_server_would_send_is_no_override(override: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must"):
        SecurityHeadersMiddleware(ok, overrides=override)


@pytest.mark.parametrize("name", ["X Request", "", "X-Id:", "X-\u20ac", "X-Id\n"])
def test_what_is_no_token_names_neither_header_nor_metric(name: str) -> None:
    with pytest.raises(ValueError, match="header must"):
        RequestIdMiddleware(ok, header=name)
    with pytest.raises(ValueError, match="metric must"):
        TimingMiddleware(ok, metric=name)


async def test_a_metric_may_be_any_token() -> None:
    sent = await call(TimingMiddleware(ok, metric="cpu%d", clock=iter([1.0, 1.5]).__next__), http_scope())
    assert (b"server-timing", b"cpu%d;dur=500.00") in sent[0]["headers"]


# CORS


@pytest.mark.parametrize(
    "origin", ["https://a.example/", "https://a.example/x", "a.example", "null", "https://a b", "*."]
)
def test_what_is_no_origin_is_refused_at_once(origin: str) -> None:
    with pytest.raises(ValueError, match="CORS"):
        CORSMiddleware(ok, allow_origins=[origin])


def test_a_star_with_credentials_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="credentials"):
        CORSMiddleware(ok, allow_origins=["*"], allow_credentials=True)


@pytest.mark.parametrize("option", ["allow_methods", "allow_headers", "expose_headers"])
@pytest.mark.parametrize("value", ["GET", ["X Shop"], ["X-Shop\r\nX-Other: 1"], [""]])
def test_methods_and_headers_that_no_preflight_can_name_are_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        CORSMiddleware(ok, allow_origins=["https://a.example"], **{option: value})


async def test_a_star_without_credentials_is_a_star() -> None:
    headers = dict(
        (await call(CORSMiddleware(ok, allow_origins=["*"]), http_scope(headers=[("Origin", "https://x")])))[0][
            "headers"
        ]
    )
    assert headers[b"access-control-allow-origin"] == b"*"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_vary_names_the_origin_whether_one_was_sent_or_not(method: str) -> None:
    middleware = CORSMiddleware(ok, allow_origins=["https://a.example"])
    for headers in [[], [("Origin", "https://b.example")], [("Origin", "https://a.example")]]:
        sent = dict((await call(middleware, http_scope(method=method, headers=headers)))[0]["headers"])
        assert b"Origin" in sent[b"vary"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("Accept", "Accept, Origin"),
        # Merely has the word in it.
        ("X-Original-Host", "X-Original-Host, Origin"),
        ("", "Origin"),
        ("Accept, origin", "Accept, origin"),
        ("*", "*"),
    ],
)
async def test_vary_keeps_what_it_names_already(given: str, sent: str) -> None:
    async def varies(scope: Any, receive: Any, send: Any) -> None:
        await Response(headers={"Vary": given})(scope, receive, send)

    middleware = CORSMiddleware(varies, allow_origins=["https://a.example"])
    assert dict((await call(middleware, http_scope()))[0]["headers"])[b"vary"] == sent.encode()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([("Origin", "https://b.example")], "origin"),
        ([("Origin", "null")], "origin"),
        ([("Origin", "https://a.example"), ("Access-Control-Request-Method", "TRACE")], "method"),
        ([("Origin", "https://a.example"), ("Access-Control-Request-Headers", "X-Other")], "header"),
    ],
)
async def test_a_preflight_is_refused_with_the_reason(headers: list[tuple[str, str]], reason: str) -> None:
    if not any(name == "Access-Control-Request-Method" for name, _ in headers):
        headers = [*headers, ("Access-Control-Request-Method", "GET")]
    messages = await call(
        CORSMiddleware(ok, allow_origins=["https://a.example"]), http_scope(method="OPTIONS", headers=headers)
    )
    assert messages[0]["status"] == 403
    assert reason in messages[1]["body"].decode()


@pytest.mark.parametrize("credentials", [True, False])
async def test_a_star_for_methods_and_headers_allows_what_is_asked_by_name(credentials: bool) -> None:
    middleware = CORSMiddleware(
        ok,
        allow_origins=["https://a.example"],
        allow_credentials=credentials,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    asked = [("Access-Control-Request-Method", "PROPFIND"), ("Access-Control-Request-Headers", "x-one, x-two")]
    scope = http_scope(method="OPTIONS", headers=[("Origin", "https://a.example"), *asked])
    start = (await call(middleware, scope))[0]
    answered = dict(start["headers"])
    # A browser that may send credentials takes a star for a method of that name (Fetch, 4.9).
    assert start["status"] == 204
    assert answered[b"access-control-allow-methods"] == b"PROPFIND"
    assert answered[b"access-control-allow-headers"] == b"x-one, x-two"
    assert b"Access-Control-Request-Headers" in answered[b"vary"]

    foreign = http_scope(method="OPTIONS", headers=[("Origin", "https://b.example"), *asked])
    refused = (await call(middleware, foreign))[0]
    assert refused["status"] == 403
    assert not any(name.startswith(b"access-control-allow") for name, _ in refused["headers"])


async def test_a_preflight_that_asks_for_no_header_is_told_of_none() -> None:
    middleware = CORSMiddleware(ok, allow_origins=["https://a.example"], allow_headers=["*"])
    asked = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")]
    answered = dict((await call(middleware, http_scope(method="OPTIONS", headers=asked)))[0]["headers"])
    assert b"access-control-allow-headers" not in answered
    assert b"PUT" in answered[b"access-control-allow-methods"]


def test_an_exposed_star_with_credentials_is_refused_at_once() -> None:
    CORSMiddleware(ok, allow_origins=["https://a.example"], expose_headers=["*"])
    with pytest.raises(ValueError, match="literally"):
        CORSMiddleware(ok, allow_origins=["https://a.example"], allow_credentials=True, expose_headers=["*"])


# Errors


async def test_a_crash_is_a_500_that_says_nothing_and_is_logged() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("secret")

    with logged() as records:
        messages = await call(ErrorsMiddleware(app), http_scope("/x"))
    assert messages[0]["status"] == 500
    assert b"secret" not in messages[1]["body"]
    assert records.fields("unhandled_exception") == [{"method": "GET", "path": "/x"}]


async def test_a_crash_after_the_start_is_raised_on() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with logged() as records, pytest.raises(ZeroDivisionError):
        await call(ErrorsMiddleware(app), http_scope())
    assert len(records.fields("unhandled_exception")) == 1


async def test_an_http_exception_of_a_middleware_keeps_its_status_and_is_no_crash() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotFound

    with logged() as records:
        messages = await call(ErrorsMiddleware(app), http_scope())
    assert messages[0]["status"] == 404
    assert records.records == []


async def test_a_websocket_that_breaks_is_refused_before_and_closed_after_accept() -> None:
    async def before(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def after(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError

    scope = {**http_scope(), "type": "websocket"}
    with logged():
        with_extension = await call(ErrorsMiddleware(before), {**scope, "extensions": {"websocket.http.response": {}}})
        without = await call(ErrorsMiddleware(before), dict(scope))
        accepted = await call(ErrorsMiddleware(after), dict(scope))
    assert (with_extension[0]["type"], with_extension[0]["status"]) == ("websocket.http.response.start", 500)
    assert without == [{"type": "websocket.close", "code": 1011}]
    assert accepted[-1] == {"type": "websocket.close", "code": 1011}


# Body limit


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def chunks(*sizes: int) -> list[dict[str, Any]]:
    last = len(sizes) - 1
    return [{"type": "http.request", "body": b"x" * size, "more_body": n < last} for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "status"), [((10,), 200), ((5, 5), 200), ((11,), 413), ((5, 5, 1), 413), ((0,), 200)]
)
async def test_a_body_is_counted_as_it_arrives(sizes: tuple[int, ...], status: int) -> None:
    messages = await call(BodyLimitMiddleware(read_all, max_bytes=10), http_scope(method="POST"), *chunks(*sizes))
    assert messages[0]["status"] == status


@pytest.mark.parametrize(("length", "status"), [("10", 200), ("11", 413), ("9" * 400, 413), ("x", 200), ("-1", 200)])
async def test_an_announced_length_is_refused_before_reading(length: str, status: int) -> None:
    async def unread(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("not read")(scope, receive, send)

    scope = http_scope(method="POST", headers=[("Content-Length", length)])
    assert (await call(BodyLimitMiddleware(unread, max_bytes=10), scope))[0]["status"] == status


async def test_an_application_that_swallows_the_refusal_still_answers_413() -> None:
    async def swallow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_all(scope, receive, send)
        except Exception:
            await PlainTextResponse("fine", status_code=400)(scope, receive, send)

    messages = await call(BodyLimitMiddleware(swallow, max_bytes=10), http_scope(method="POST"), *chunks(8, 8))
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert messages[0]["status"] == 413


# Time limit


async def test_a_request_that_does_not_begin_to_answer_is_a_504_and_is_cleaned_up() -> None:
    cleaned: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with logged() as records:
        messages = await call(TimeLimitMiddleware(app, seconds=0.01), http_scope("/slow"))
    assert messages[0]["status"] == 504
    assert cleaned == [True]
    assert records.fields("request_timed_out") == [{"path": "/slow", "limit_seconds": 0.01}]


async def test_a_response_that_has_begun_has_no_limit() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"late"})

    messages = await call(TimeLimitMiddleware(app, seconds=0.01), http_scope())
    assert messages[-1]["body"] == b"late"


async def test_a_timeout_of_the_application_is_its_own() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await call(TimeLimitMiddleware(app, seconds=5), http_scope())


# Client address


async def address_of(*headers: tuple[str, str], peer: str | None = "10.0.0.1", **more: Any) -> tuple[Any, str]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"][0] if scope["client"] else None, scope["scheme"]))

    scope = http_scope(headers=headers, **more)
    scope["client"] = None if peer is None else (peer, 1)
    await call(ClientAddressMiddleware(app, trusted=["10.0.0.0/8", "2001:db8::/32", "unix"]), scope)
    result: tuple[Any, str] = seen[0]
    return result


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:db9::1]:80"], "2001:db9::1"),
        (["2001:db9::1"], "2001:db9::1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["[::ffff:198.51.100.7]:80"], "198.51.100.7"),
        (["fe80::1%eth0"], "fe80::1"),
        (['[fe80::1%"<x>]:80'], "fe80::1"),
        (["fe80::1%" + "x" * 80], "10.0.0.1"),
        (["6.6.6.6, " + "1" * 10_000], "10.0.0.1"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["6.6.6.6, junk, 10.9.9.9"], "10.9.9.9"),
        (['lol"<x>'], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
async def test_the_client_is_the_rightmost_address_that_is_not_trusted(forwarded: list[str], address: str) -> None:
    headers = [("X-Forwarded-For", value) for value in forwarded]
    assert (await address_of(*headers))[0] == address


async def test_an_untrusted_peer_is_the_client_whatever_it_says() -> None:
    headers = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "https")]
    assert await address_of(*headers, peer="198.51.100.7") == ("198.51.100.7", "http")
    assert (await address_of(*headers, peer="::ffff:198.51.100.7"))[0] == "198.51.100.7"


async def test_the_scheme_is_the_nearest_proxys() -> None:
    assert (await address_of(("X-Forwarded-Proto", "http, https")))[1] == "https"
    assert (await address_of(("X-Forwarded-Proto", "gopher")))[1] == "http"
    assert (await address_of(("X-Forwarded-Proto", "https"), type="websocket", scheme="ws"))[1] == "wss"


async def test_a_unix_socket_may_be_trusted() -> None:
    assert (await address_of(("X-Forwarded-For", "198.51.100.7"), peer=None))[0] == "198.51.100.7"


def test_what_is_no_network_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="neither"):
        ClientAddressMiddleware(ok, trusted=["nginx"])
