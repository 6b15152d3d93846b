"""The short way finds the route that FastAPI's routers would find, and leaves the rest to them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import hypothesis.strategies as st
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, example, given, settings
from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from hardpoint.middleware import RequestIdMiddleware, TimingMiddleware
from hardpoint.routing import CompiledRoute, CompiledRoutesMiddleware
from hardpoint.scope import route_template
from support.asgi import call, client_of, http_scope

SHORT = [Middleware(CompiledRoutesMiddleware)]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests that came the short way."""
    found: list[str] = []
    original = CompiledRoutesMiddleware._answer

    async def noted(self: Any, exchange: Any, handler: Any, scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope["path"])
        await original(self, exchange, handler, scope, receive, send)

    monkeypatch.setattr(CompiledRoutesMiddleware, "_answer", noted)
    return found


# Which route answers

PATHS = ["/", "/a", "/a/b", "/a/{x}", "/{x}", "/{x}/b", "/{x:int}", "/a/{x:path}", "/b", "/a{x}"]
SENT = [
    "/",
    "",
    "/a",
    "/a/",
    "/a/b",
    "/a/7",
    "/7",
    "/7/b",
    "/b",
    "/a/b/c",
    "/ab",
    "/a\n",
    "/A",
    "//a",
    "/a/b/7/c",
    "/m/a",
]
KINDS = ["compiled", "compiled", "compiled", "own", "plain", "mount", "socket"]

routes = st.tuples(
    st.sampled_from(KINDS), st.sampled_from(PATHS), st.sets(st.sampled_from(["GET", "POST"]), min_size=1)
)
routers = st.deferred(lambda: st.tuples(st.sampled_from(["", "/a", "/{p}"]), st.lists(routes | routers, max_size=5)))
trees = st.lists(routes | routers, min_size=1, max_size=6)


async def told(request: Request) -> dict[str, Any]:
    """What the scope holds of the route."""
    scope = request.scope
    inner = scope.get("fastapi", {})
    context = inner.get("effective_route_context")
    return {
        "template": route_template(scope),
        "params": scope["path_params"],
        "route": scope["route"].path,
        "endpoint": scope["endpoint"].__name__,
        "router": scope["router"] is scope["app"].router,
        "context": context and context.path,
        "included": inner.get("included_router") and inner["included_router"].include_context.prefix,
        "url": str(request.url_for("known")),
        "stacks": [type(scope[name]) is AsyncExitStack for name in scope if name.endswith("_astack")],
        "handlers": len(scope["starlette.exception_handlers"]),
    }


def fill(router: Any, tree: list[Any], number: int = 0) -> int:
    for kind, path, *rest in tree:
        number += 1
        if not rest:
            # An included router: its prefix and its routes.
            inner = APIRouter(route_class=CompiledRoute)
            prefix = kind.replace("p", f"p{number}")
            number = fill(inner, path, number)
            router.include_router(inner, prefix=prefix)
            continue
        methods = sorted(rest[0])

        async def endpoint(request: Request, number: int = number) -> dict[str, Any]:
            return {"number": number, **await told(request)}

        endpoint.__name__ = f"endpoint{number}"
        if kind == "mount":
            router.mount("/m" + path.partition("{")[0].rstrip("/"), PlainTextResponse(f"mounted {number}"))
        elif kind == "plain":
            router.add_route(path, PlainTextResponse(f"plain {number}"), methods=methods)
        elif kind == "socket":
            router.add_api_websocket_route(path, endpoint)
        else:
            route_class = CompiledRoute if kind == "compiled" else APIRoute
            if isinstance(router, FastAPI):
                router = router.router
            router.add_api_route(path, endpoint, methods=methods, route_class_override=route_class)
    return number


async def answers(tree: list[Any], middlewares: list[Middleware], root_path: str) -> list[Any]:
    app = FastAPI(middleware=middlewares, openapi_url=None)
    app.router.route_class = CompiledRoute
    fill(app, tree)
    app.add_api_route("/known", told, name="known")
    found: list[Any] = []
    for path in SENT:
        for method in ("GET", "POST"):
            scope = http_scope(root_path + path, method, root_path=root_path)
            try:
                messages = await call(app, scope)
            except Exception as error:
                found.append((path, method, type(error)))
                continue
            found.append((path, method, messages[0]["status"], messages[0]["headers"], messages[1]["body"]))
    return found


# As in the comparison of answers, `make test-fastapi` asks for thousands.
EXAMPLES = int(os.environ.get("HARDPOINT_EQUALITY_EXAMPLES", "60"))


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(trees, st.sampled_from(["", "/root"]))
@example([("compiled", "/a", {"GET"}), ("compiled", "/{x}", {"GET"})], "")
def test_the_same_route_answers_and_knows_the_same(tree: list[Any], root_path: str) -> None:
    assert asyncio.run(answers(tree, SHORT, root_path)) == asyncio.run(answers(tree, [], root_path))


def app_with(*, middlewares: Any = SHORT, prefix: str = "") -> FastAPI:
    app = FastAPI(middleware=middlewares)
    app.router.route_class = CompiledRoute
    router = APIRouter(route_class=CompiledRoute)

    @router.get("/items/{number}")
    async def item(number: int) -> int:
        if number == 13:
            raise HTTPException(418, "teapot")
        if number == 14:
            raise KeyError("broken")
        return number

    app.include_router(router, prefix=prefix)
    return app


async def test_compiled_routes_are_reached_the_short_way(answered: list[str]) -> None:
    app = app_with(prefix="/v1")

    @app.get("/direct")
    async def direct() -> int:
        return 1

    async with client_of(app) as client:
        assert (await client.get("/v1/items/7")).json() == 7
        assert (await client.get("/v1/items/x")).status_code == 422
        assert (await client.get("/direct")).json() == 1
        assert (await client.post("/direct")).status_code == 405
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/direct/")).status_code == 307
    assert answered == ["/v1/items/7", "/v1/items/x", "/direct"]


async def test_routes_that_come_later_are_found_and_those_that_go_are_gone(answered: list[str]) -> None:
    app = app_with()
    later = APIRouter(route_class=CompiledRoute)
    app.include_router(later, prefix="/later")
    async with client_of(app) as client:
        assert (await client.get("/later/one")).status_code == 404

        @later.get("/one")
        async def one() -> int:
            return 1

        assert (await client.get("/later/one")).json() == 1
        app.add_api_route("/items/7", one)
        app.router.routes.insert(0, app.router.routes.pop())
        assert (await client.get("/items/7")).json() == 1
        app.router.routes.pop(0)
        assert (await client.get("/items/7")).json() == 7
    assert answered == ["/later/one", "/items/7", "/items/7"]


async def test_a_route_that_takes_an_equal_ones_place_answers_in_it() -> None:
    """Starlette's routes are equal when their path, endpoint and methods are, whatever guards them."""

    def guard() -> None:
        raise HTTPException(401)

    async def simple() -> int:
        return 1

    app = app_with()
    app.add_api_route("/simple", simple)
    async with client_of(app) as client:
        assert (await client.get("/simple")).json() == 1
        app.add_api_route("/simple", simple, dependencies=[Depends(guard)])
        routes = app.router.routes
        open_route, guarded = routes[-2:]
        assert open_route == guarded
        routes[-2:] = [guarded]
        assert (await client.get("/simple")).status_code == 401


async def test_exceptions_find_their_handlers_also_those_of_handlers(answered: list[str]) -> None:
    app = app_with()

    @app.exception_handler(KeyError)
    async def broken(request: Request, error: Exception) -> Response:
        raise HTTPException(420, "from a handler")

    @app.exception_handler(420)
    async def calm(request: Request, error: Exception) -> Response:
        return PlainTextResponse("calm")

    async with client_of(app) as client:
        assert (await client.get("/items/13")).json() == {"detail": "teapot"}
        assert (await client.get("/items/14")).text == "calm"
    assert len(answered) == 2


async def test_what_nobody_handles_is_raised_on(answered: list[str]) -> None:
    app = app_with()
    with pytest.raises(KeyError):
        await call(app, http_scope("/items/14"))
    assert answered == ["/items/14"]


@pytest.mark.parametrize("middlewares", [[], SHORT])
async def test_what_a_convertor_or_a_route_raises_finds_its_handler(
    monkeypatch: pytest.MonkeyPatch, middlewares: list[Middleware]
) -> None:
    class Month(Convertor[int]):
        regex = "[0-9]+"

        def convert(self, value: str) -> int:
            if int(value) > 12:
                raise HTTPException(404, "There is no such month")
            return int(value)

        def to_string(self, value: int) -> str:
            return str(value)

    class Moody(APIRoute):
        def matches(self, scope: Scope) -> Any:
            raise HTTPException(418, "Not today")

    monkeypatch.setitem(CONVERTOR_TYPES, "month", Month())
    app = app_with(middlewares=middlewares)

    @app.get("/months/{number:month}")
    async def month(number: int) -> int:
        return number

    app.router.add_api_route("/moody", month, route_class_override=Moody)
    app.add_api_route("/later", month)
    async with client_of(app) as client:
        assert (await client.get("/months/7")).json() == 7
        assert (await client.get("/months/13")).json() == {"detail": "There is no such month"}
        assert (await client.get("/later")).status_code == 418


async def test_files_are_closed_after_the_answer_and_learn_of_its_failure(answered: list[str]) -> None:
    app = FastAPI(middleware=SHORT)
    app.router.route_class = CompiledRoute
    seen: list[Any] = []

    @app.get("/{fails}")
    async def route(request: Request, fails: bool) -> int:
        def close(kind: Any, error: Any, trace: Any) -> bool:
            seen.append(kind)
            return False

        request.scope["fastapi_middleware_astack"].push(close)
        if fails:
            raise KeyError
        return 1

    async with client_of(app) as client:
        assert (await client.get("/false")).json() == 1
        assert (await client.get("/true")).status_code == 500
    assert seen == [None, KeyError]
    assert answered == ["/false", "/true"]


async def test_overrides_and_wrapped_routes_go_the_long_way(answered: list[str]) -> None:
    app = app_with(middlewares=[Middleware(RequestIdMiddleware), *SHORT])
    passed: list[str] = []

    async def given() -> int:
        return 1

    @app.get("/given")
    async def route(value: int = Depends(given)) -> int:
        return value

    async with client_of(app) as client:
        assert (await client.get("/given")).headers["x-request-id"]
        app.dependency_overrides[given] = lambda: 2
        assert (await client.get("/given")).json() == 2
        app.dependency_overrides.clear()
        inner: Any = app.router.routes[-1]
        around = inner.app

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            passed.append(scope["path"])
            await around(scope, receive, send)

        inner.app = wrapped
        assert (await client.get("/given")).json() == 1
    assert (answered, passed) == (["/given"], ["/given"])


@pytest.mark.parametrize("inner", [Middleware(TimingMiddleware), Middleware(CompiledRoutesMiddleware)])
async def test_anywhere_but_innermost_it_does_nothing(answered: list[str], inner: Middleware) -> None:
    async with client_of(app_with(middlewares=[*SHORT, inner])) as client:
        answer = await client.get("/items/7")
    assert answer.json() == 7
    assert answered == (["/items/7"] if inner.cls is CompiledRoutesMiddleware else [])
    assert ("server-timing" in answer.headers) == (inner.cls is TimingMiddleware)


async def test_around_what_is_not_fastapis_own_it_does_nothing(answered: list[str]) -> None:
    class Patient(APIRouter):
        async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("patience")(scope, receive, send)

    app = app_with()
    app.router.__class__ = Patient
    app.router.middleware_stack = app.router.app
    async with client_of(app) as client:
        assert (await client.get("/items/7")).text == "patience"
    assert answered == []


async def test_sockets_and_the_lifespan_pass() -> None:
    app = app_with()

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b"", "subprotocols": []}
    sent = await call(app, scope, {"type": "websocket.connect"})
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


async def test_a_generator_that_fails_after_the_answer_is_no_second_answer(answered: list[str]) -> None:
    app = FastAPI(middleware=SHORT)
    app.router.route_class = CompiledRoute

    async def late() -> AsyncIterator[None]:
        yield
        raise HTTPException(500, "too late")

    @app.get("/", dependencies=[Depends(late)])
    async def route() -> int:
        return 1

    scope, sent = http_scope("/"), []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with pytest.raises(RuntimeError, match="response already started"):
        await app(scope, receive, send)
    assert sent == ["http.response.start", "http.response.body"]
    assert answered == ["/"]
