"""What a compiled route leaves to FastAPI, and what it promises beside equal answers."""

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    UploadFile,
    routing,
)
from fastapi.dependencies.utils import get_parameterless_sub_dependant
from fastapi.exceptions import FastAPIError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

import hardpoint.routing.compiled
from hardpoint.errors import install_error_handlers
from hardpoint.routing import CompiledRoute, StrictCompiledRoute
from hardpoint.routing.running import CompiledHandler
from support.asgi import call, client_of, http_scope


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each request was answered in the short way: `direct`, or `inside` of what FastAPI has around a handler."""
    found: list[str] = []
    for name, how in (("__call__", "direct"), ("handle", "inside")):
        original = getattr(CompiledHandler, name)

        async def noted(self: Any, *arguments: Any, original: Any = original, how: str = how) -> Any:
            found.append(how if how == "direct" or not self._is_left_to_fastapi(arguments[0].scope) else "not")
            return await original(self, *arguments)

        monkeypatch.setattr(CompiledHandler, name, noted)
    return found


def app_with(endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    app = FastAPI()
    app.router.route_class = CompiledRoute
    app.add_api_route("/", endpoint, methods=["GET", "POST"], **options)
    return app


async def simple(number: int = 1) -> int:
    return number


async def test_a_simple_route_is_answered_directly(answered: list[str]) -> None:
    async with client_of(app_with(simple)) as client:
        assert (await client.get("/?number=7")).json() == 7
        assert (await client.get("/?number=x")).status_code == 422
        assert (await client.put("/")).status_code == 405
    assert answered == ["direct", "direct"]


async def test_a_route_with_a_limit_of_its_own_is_compiled_inside_of_it(answered: list[str]) -> None:
    async def endpoint(value: list[int]) -> int:
        return len(value)

    async with client_of(app_with(endpoint, max_body_size=10)) as client:
        assert (await client.post("/", json=[1, 2])).json() == 2
        assert (await client.post("/", json=[1] * 100)).status_code == 413
    assert answered == ["inside", "inside"]


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
async def test_dependencies_are_closed_by_their_scope_and_one_that_swallows_an_error_is_told(route_class: Any) -> None:
    seen: list[str] = []

    async def until_returned() -> AsyncIterator[None]:
        yield
        seen.append("function")

    async def until_sent() -> AsyncIterator[None]:
        yield
        seen.append("request")

    async def swallowing() -> AsyncIterator[None]:
        with suppress(KeyError):
            yield

    class Noted(PlainTextResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.append("sent")
            await super().__call__(scope, receive, send)

    app = FastAPI()
    app.router.route_class = route_class

    @app.get("/", dependencies=[Depends(until_sent), Depends(until_returned, scope="function")])
    async def endpoint() -> PlainTextResponse:
        return Noted("x")

    @app.get("/swallowed", dependencies=[Depends(swallowing)])
    async def swallowed() -> None:
        raise KeyError

    await call(app, http_scope("/"))
    assert seen == ["function", "sent", "request"]
    with pytest.raises(FastAPIError, match="Response not awaited"):
        await call(app, http_scope("/swallowed"))


async def form(name: Annotated[str, Form()]) -> str:
    return name


async def file(upload: Annotated[UploadFile, File()]) -> int:
    return len(await upload.read())


async def lines() -> AsyncIterator[int]:
    yield 1


async def stream() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("endpoint", "options"), [(form, {}), (file, {}), (lines, {}), (stream, {"response_class": StreamingResponse})]
)
def test_forms_files_and_streams_are_left_to_fastapi(endpoint: Any, options: dict[str, Any]) -> None:
    route = app_with(endpoint, **options).routes[-1]
    assert isinstance(route, CompiledRoute)
    assert not route.is_compiled


async def test_overrides_are_left_to_fastapi_as_long_as_there_are_any(answered: list[str]) -> None:
    async def who() -> str:
        return "nobody"

    async def endpoint(value: Annotated[str, Depends(who)]) -> str:
        return value

    app = app_with(endpoint)
    async with client_of(app) as client:
        app.dependency_overrides[who] = lambda: "ann"
        assert (await client.get("/")).json() == "ann"
        app.dependency_overrides.clear()
        assert (await client.get("/")).json() == "nobody"
    assert answered == ["not", "direct"]


async def test_a_request_that_is_traced_is_left_to_fastapi(answered: list[str]) -> None:
    app = FastAPI(telemetry={"tracer_provider": TracerProvider()})
    app.router.route_class = CompiledRoute
    app.add_api_route("/", simple)
    async with client_of(app) as client:
        assert (await client.get("/")).json() == 1
    assert answered == ["not"]


@pytest.mark.parametrize("name", ["solve_dependencies", "run_endpoint_function", "serialize_response"])
async def test_whoever_replaces_a_function_of_fastapi_sees_every_request(
    name: str, answered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, original = [], getattr(routing, name)

    async def replacement(**arguments: Any) -> Any:
        seen.append(name)
        return await original(**arguments)

    app = app_with(simple)
    monkeypatch.setattr(routing, name, replacement)
    async with client_of(app) as client:
        assert (await client.get("/")).json() == 1
    assert (answered, seen) == (["not"], [name])


async def test_whoever_overrides_the_handler_or_puts_something_around_a_route_is_asked(answered: list[str]) -> None:
    seen: list[str] = []

    class Own(CompiledRoute):
        def get_route_handler(self) -> Any:
            handler = super().get_route_handler()

            async def own(request: Request) -> Any:
                seen.append("handler")
                return await handler(request)

            return own

    app = FastAPI()
    app.router.route_class = Own
    app.add_api_route("/", simple)
    around = app_with(simple)
    route: Any = around.routes[-1]
    inside = route.app

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append("around")
        await inside(scope, receive, send)

    route.app = outside
    for each in (app, around):
        async with client_of(each) as client:
            assert (await client.get("/")).json() == 1
    assert seen == ["handler", "around"]
    assert answered == ["inside", "inside"]


async def test_under_another_version_of_fastapi_a_route_is_its_own(
    answered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardpoint.routing.compiled, "IS_KNOWN", False)
    app = app_with(simple)
    async with client_of(app) as client:
        assert (await client.get("/")).json() == 1
    route: Any = app.routes[-1]
    assert (answered, route.is_compiled) == ([], False)


async def test_a_router_that_is_included_twice_is_what_each_place_makes_of_it(answered: list[str]) -> None:
    async def forbidden() -> None:
        raise HTTPException(403)

    router = APIRouter(route_class=CompiledRoute)
    router.add_api_route("/", simple)
    app = FastAPI()
    app.include_router(router, prefix="/open")
    app.include_router(router, prefix="/closed", dependencies=[Depends(forbidden)])
    async with client_of(app) as client:
        statuses = [(await client.get(path)).status_code for path in ("/open/", "/closed/", "/open/")]
    assert statuses == [200, 403, 200]
    assert answered == ["direct"] * 3


async def test_handlers_of_exceptions_are_found_as_starlette_finds_them() -> None:
    class Mine(Exception):
        pass

    async def endpoint(kind: str) -> None:
        raise {"mine": Mine(), "http": HTTPException(418, "teapot"), "other": KeyError()}[kind]

    app = app_with(endpoint)

    @app.exception_handler(Mine)
    def handle_mine(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("mine", status_code=409)

    @app.exception_handler(418)
    async def handle_teapot(_request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"handled {error}", status_code=200)

    async with client_of(app) as client:
        assert (await client.get("/?kind=mine")).text == "mine"
        assert (await client.get("/?kind=http")).text == "handled 418: teapot"
        assert (await client.get("/?kind=other")).status_code == 500


async def test_an_answer_that_has_begun_cannot_become_another() -> None:
    class BreaksLate(PlainTextResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super().__call__(scope, receive, send)
            raise HTTPException(400)

    async def endpoint() -> PlainTextResponse:
        return BreaksLate("begun")

    outcomes = []
    for route_class in (APIRoute, CompiledRoute):
        app = FastAPI()
        app.router.route_class = route_class
        app.add_api_route("/", endpoint)
        with pytest.raises(RuntimeError, match="already started") as raised:
            await call(app, http_scope())
        outcomes.append(str(raised.value))
    assert outcomes[0] == outcomes[1]


async def test_context_variables_and_background_tasks_are_the_requests() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[str] = []

    async def set_it() -> None:
        variable.set("set")

    async def endpoint(_: Annotated[None, Depends(set_it)], tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: seen.append(variable.get()))
        return variable.get()

    async with client_of(app_with(endpoint)) as client:
        assert (await client.get("/")).json() == "set"
    assert seen == ["set"]


async def test_a_strict_one_refuses_bad_json_in_both_ways(answered: list[str]) -> None:
    async def nothing() -> AsyncIterator[None]:
        yield

    router = APIRouter(route_class=StrictCompiledRoute)

    @router.post("/direct")
    async def direct(value: dict[str, Any]) -> int:
        return len(value)

    @router.post("/inside")
    async def inside(value: dict[str, Any], _: Annotated[None, Depends(nothing)]) -> int:
        return len(value)

    app = FastAPI()
    app.include_router(router)
    install_error_handlers(app)
    async with client_of(app, headers={"Content-Type": "application/json"}) as client:
        for path in ("/direct", "/inside"):
            for content, status in [('{"a": 1}', 200), ('{"a": NaN}', 422), ('{"a": "\\ud800"}', 422), ("{", 422)]:
                answer = await client.post(path, content=content)
                assert answer.status_code == status, answer.text
            assert (await client.post(path, content="x", headers={"Content-Type": "text/csv"})).status_code == 415
        app.dependency_overrides[nothing] = lambda: None
        assert (await client.post("/direct", content='{"a": NaN}')).status_code == 422
    assert set(answered) == {"direct", "not"}


async def test_what_is_inert_is_not_called_and_what_only_looks_so_is(answered: list[str]) -> None:
    class Dependency:
        def __init__(self, mark: Any) -> None:
            self.hardpoint_is_inert = mark

        async def __call__(self) -> int:
            return 7

    class Everything:
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return self

        async def __call__(self) -> int:
            return 7

    async def endpoint(
        inert: Annotated[Any, Depends(Dependency(mark=True))],
        other: Annotated[Any, Depends(Dependency(mark=1))],
        everything: Annotated[Any, Depends(Everything())],
    ) -> list[int | None]:
        return [inert, other, everything]

    async with client_of(app_with(endpoint)) as client:
        assert (await client.get("/")).json() == [None, 7, 7]
    assert answered == ["direct"]


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
async def test_a_dependency_that_is_put_before_a_route_later_is_called(route_class: Any) -> None:
    def guard() -> None:
        raise HTTPException(401)

    async def other(number: int) -> int:
        return number + 1

    app = FastAPI()
    app.router.route_class = route_class
    app.add_api_route("/guarded", simple)
    app.add_api_route("/replaced", simple)
    async with client_of(app) as client:
        assert (await client.get("/guarded")).json() == 1
        guarded, replaced = (route for route in app.routes if isinstance(route, APIRoute))
        depends = get_parameterless_sub_dependant(depends=Depends(guard), path=guarded.path_format)
        guarded.dependant.dependencies.insert(0, depends)
        replaced.dependant.call = other
        assert (await client.get("/guarded")).status_code == 401
        assert (await client.get("/replaced")).json() == 2


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_answer_of_which_nothing_is_included_shows_nothing(route_class: Any, is_async: bool) -> None:
    class Account(BaseModel):
        name: str = "a"
        secret: str = "b"

    async def awaited() -> Account:
        return Account()

    app = FastAPI()
    app.router.route_class = route_class
    app.add_api_route("/", awaited if is_async else Account, response_model=Account, response_model_include=set())
    async with client_of(app) as client:
        assert (await client.get("/")).json() == {}


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
async def test_a_request_of_another_class_is_read_as_it_reads_itself(route_class: Any) -> None:
    class Unpacked(Request):
        async def body(self) -> bytes:
            return gzip.decompress(await super().body())

    class UnpackingRoute(route_class):  # type: ignore[misc] # It is one of two.
        def get_route_handler(self) -> Callable[[Request], Any]:
            handler = super().get_route_handler()

            async def unpacking(request: Request) -> Any:
                return await handler(Unpacked(request.scope, request.receive))

            return unpacking

    async def endpoint(request: Request, numbers: list[int]) -> tuple[str, int]:
        return type(request).__name__, sum(numbers)

    app = FastAPI()
    app.router.route_class = UnpackingRoute
    app.add_api_route("/", endpoint, methods=["POST"])
    async with client_of(app) as client:
        answer = await client.post("/", content=gzip.compress(b"[1, 2]"), headers={"Content-Type": "application/json"})
        assert answer.json() == ["Unpacked", 3]


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
async def test_an_endpoint_may_be_an_object_without_a_hash(route_class: Any) -> None:
    @dataclass
    class Adding:
        number: int

        async def __call__(self, other: int = 1) -> int:
            return self.number + other

    app = FastAPI()
    app.router.route_class = route_class
    app.add_api_route("/", Adding(3))
    async with client_of(app) as client:
        assert (await client.get("/?other=4")).json() == 7


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
async def test_who_waits_for_the_request_hears_of_an_error_that_was_swallowed_before(route_class: Any) -> None:
    seen: list[str] = []

    async def transaction() -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            seen.append("rolled back")
            raise
        seen.append("committed")

    async def swallowing() -> AsyncIterator[None]:
        with suppress(KeyError):
            yield

    async def endpoint() -> None:
        raise KeyError

    app = FastAPI(dependencies=[Depends(transaction), Depends(swallowing, scope="function")])
    app.router.route_class = route_class
    app.add_api_route("/", endpoint)
    with pytest.raises(UnboundLocalError):
        await call(app, http_scope("/"))
    assert seen == ["rolled back"]
