"""A compiled route answers as FastAPI's own would: generated routes, generated requests, both compared."""

import asyncio
import inspect
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from uuid import UUID

import hypothesis.strategies as st
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Response,
    routing,
)
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from hypothesis import HealthCheck, example, given, settings
from pydantic import AfterValidator, BaseModel, Field
from starlette.middleware import Middleware
from starlette.requests import Request

from hardpoint.routing import CompiledRoute, CompiledRoutesMiddleware
from support.asgi import call, http_scope


class Item(BaseModel):
    name: str
    price: float = 1.5
    tags: list[str] = []


class Filters(BaseModel):
    model_config = {"extra": "forbid"}

    limit: int = Field(10, ge=1)
    words: list[str] = []


def refuse_thirteen(value: int) -> int:
    if value == 13:
        raise ValueError("unlucky")
    return value


# `make test-fastapi` asks for thousands.
EXAMPLES = int(os.environ.get("HARDPOINT_EQUALITY_EXAMPLES", "120"))
NONE = inspect.Parameter.empty
# Each kind of parameter: its annotation, and its default if it has one.
PATH: dict[str, Any] = {"int": int, "str": str, "uuid": UUID, "literal": Literal["a", "b"]}
PARAMETERS: dict[str, tuple[Any, Any]] = {
    "number": (int, NONE),
    "optional": (int | None, None),
    "text": (str, "default"),
    "flag": (bool, False),
    "constrained": (Annotated[int, Query(ge=0, le=50)], 5),
    "checked": (Annotated[int, AfterValidator(refuse_thirteen)], 1),
    "listed": (Annotated[list[int], Query()], NONE),
    "listed_default": (Annotated[list[str], Query()], ["x"]),
    "aliased": (Annotated[str, Query(alias="other-name")], NONE),
    "made": (Annotated[list[int], Query(default_factory=list)], NONE),
    "model": (Annotated[Filters, Query()], NONE),
    "user_agent": (Annotated[str | None, Header()], None),
    "x_number": (Annotated[int, Header()], NONE),
    "x_several": (Annotated[list[str] | None, Header()], None),
    "session": (Annotated[str | None, Cookie()], None),
    "body": (Item, NONE),
    "second_body": (Annotated[dict[str, Any] | None, Body()], None),
    "single": (Annotated[int, Body(embed=True)], NONE),
}
# What may come as the value of a parameter.
VALUES = ["1", "13", "-4", "99", "", "a", "true", "x" * 20, "é", "3.5", "null"]
NAMES = ["number", "optional", "text", "flag", "constrained", "checked", "listed", "listed_default", "other-name"]
NAMES += ["made", "limit", "words", "unknown"]


@dataclass
class Dependency:
    """A dependency of a generated route."""

    kind: str
    parameter: str
    inner: "Dependency | None" = None
    use_cache: bool = True
    fails: str = "never"


@dataclass
class Shape:
    """A generated route."""

    path: str | None
    parameters: list[str]
    dependencies: list[Dependency]
    specials: list[str]
    returns: str
    is_async: bool
    is_included: bool
    options: dict[str, Any] = field(default_factory=dict)


def make_dependency(dependency: Dependency, number: int, log: list[str]) -> Callable[..., Any]:
    annotation, default = PARAMETERS[dependency.parameter]
    own = [inspect.Parameter("value", inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)]
    if dependency.inner is not None:
        inner = Depends(make_dependency(dependency.inner, number, log), use_cache=dependency.inner.use_cache)
        own.append(inspect.Parameter("inner", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Any, inner]))
    name = f"{dependency.kind}{number}"

    def work(values: dict[str, Any]) -> Any:
        log.append(f"{name} {values!r}")
        if dependency.fails == "http":
            raise HTTPException(418, "teapot", headers={"X-Teapot": "yes"})
        if dependency.fails == "value":
            raise ValueError("broken")
        return {"from": name, **{key: str(value) for key, value in values.items()}}

    function: Callable[..., Any]
    if dependency.kind == "async":

        async def function(**values: Any) -> Any:
            return work(values)

    elif dependency.kind == "sync":

        def function(**values: Any) -> Any:
            return work(values)

    elif dependency.kind == "async_yield":

        async def function(**values: Any) -> AsyncIterator[Any]:
            try:
                yield work(values)
            finally:
                log.append(f"{name} closed")

    else:

        def function(**values: Any) -> Iterator[Any]:
            try:
                yield work(values)
            finally:
                log.append(f"{name} closed")

    function.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return function


SPECIALS: dict[str, Any] = {
    "request": Request,
    "response": Response,
    "background": BackgroundTasks,
    "scopes": SecurityScopes,
}


def answer_of(shape: Shape, values: dict[str, Any], log: list[str]) -> Any:  # noqa: PLR0911 - one for each kind.
    if (response := values.get("response")) is not None:
        response.headers["X-Set"] = "by the route"
        response.set_cookie("a", "b")
        if shape.returns == "changed_status":
            response.status_code = 202
    if (background := values.get("background")) is not None:
        background.add_task(log.append, "background")
    given = {key: str(value) for key, value in values.items() if key not in SPECIALS}
    match shape.returns:
        case "model":
            return Item(name="made", tags=sorted(given))
        case "wrong_model":
            return {"price": "no number"}
        case "none":
            return None
        case "text":
            return "text"
        case "response":
            return PlainTextResponse(json.dumps(given), headers={"X-Own": "1"})
        case "http_error":
            raise HTTPException(409, {"given": given})
        case "error":
            raise ValueError("broken")
        case "nested":
            return {"list": [1, 2.5, None, True, {"_sa_hidden": 1, "key": Item(name="x")}], "given": given}
        case _:
            return given


RETURNS: dict[str, Any] = {"model": Item, "wrong_model": Item, "none": None}


def make_app(
    shape: Shape, route_class: type[APIRoute], middlewares: Sequence[Middleware] = ()
) -> tuple[FastAPI, list[str]]:
    log: list[str] = []
    parameters = []
    if shape.path is not None:
        parameters.append(("path_value", PATH[shape.path], NONE))
    parameters += [(name, *PARAMETERS[name]) for name in shape.parameters]
    for number, dependency in enumerate(shape.dependencies):
        depends = Depends(make_dependency(dependency, number, log), use_cache=dependency.use_cache)
        parameters.append((f"dependency{number}", Annotated[Any, depends], NONE))
    parameters += [(name, SPECIALS[name], NONE) for name in shape.specials]
    kind = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter(name, kind, annotation=annotation, default=default)
            for name, annotation, default in parameters
        ],
        return_annotation=RETURNS.get(shape.returns, inspect.Signature.empty),
    )

    def work(values: dict[str, Any]) -> Any:
        log.append(f"route {sorted((key, str(value)) for key, value in values.items() if key not in SPECIALS)}")
        return answer_of(shape, values, log)

    endpoint: Callable[..., Any]
    if shape.is_async:

        async def endpoint(**values: Any) -> Any:
            return work(values)

    else:

        def endpoint(**values: Any) -> Any:
            return work(values)

    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    path = "/thing" if shape.path is None else "/thing/{path_value}"
    router = APIRouter(route_class=route_class)
    router.add_api_route(path, endpoint, methods=["POST", "GET"], **shape.options)
    app = FastAPI(middleware=middlewares)
    if shape.is_included:
        outer = APIRouter(
            prefix="/outer", dependencies=[Depends(make_dependency(Dependency("async", "optional"), 9, log))]
        )
        outer.include_router(router, prefix="/inner")
        app.include_router(outer)
    else:
        app.router.route_class = route_class
        app.add_api_route(path, endpoint, methods=["POST", "GET"], **shape.options)
    return app, log


@dataclass
class Sent:
    """A generated request."""

    path_value: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes
    method: str = "POST"


async def outcome(
    shape: Shape, route_class: type[APIRoute], sent: list[Sent], middlewares: Sequence[Middleware] = ()
) -> Any:
    # FastAPI remembers where a function stands by its id, which the next generated one may have.
    routing._endpoint_context_cache.clear()
    app, log = make_app(shape, route_class, middlewares)
    path = "/thing" if shape.path is None else "/thing/{}"
    prefix = "/outer/inner" if shape.is_included else ""
    seen: list[Any] = []
    for request in sent:
        scope = http_scope(
            prefix + path.format(request.path_value),
            method=request.method,
            headers=request.headers,
            query_string="&".join(f"{name}={value}" for name, value in request.query).encode(),
        )
        del log[:]
        try:
            messages = await call(app, scope, {"type": "http.request", "body": request.body, "more_body": False})
            answers: Any = [(m["type"], m.get("status"), m.get("headers"), m.get("body")) for m in messages]
        except Exception as error:
            answers = (type(error), str(error))
        seen.append((answers, list(log)))
    return seen


dependencies = st.deferred(
    lambda: st.builds(
        Dependency,
        kind=st.sampled_from(["async", "sync", "async_yield", "yield"]),
        parameter=st.sampled_from(["optional", "text", "number", "x_number", "session", "constrained", "body"]),
        inner=st.none() | dependencies,
        use_cache=st.booleans(),
        fails=st.sampled_from(["never"] * 6 + ["http", "value"]),
    )
)
options = st.fixed_dictionaries(
    {},
    optional={
        "status_code": st.sampled_from([200, 201]),
        "response_model_exclude_unset": st.booleans(),
        "response_model_include": st.just({"name"}),
        "response_class": st.sampled_from([PlainTextResponse, Response]),
    },
)
shapes = st.builds(
    Shape,
    path=st.none() | st.sampled_from(sorted(PATH)),
    parameters=st.lists(st.sampled_from(sorted(PARAMETERS)), max_size=4, unique=True),
    dependencies=st.lists(dependencies, max_size=3),
    specials=st.lists(st.sampled_from(sorted(SPECIALS)), max_size=3, unique=True),
    returns=st.sampled_from(
        ["given", "model", "wrong_model", "none", "text", "response", "http_error", "error", "nested", "changed_status"]
    ),
    is_async=st.booleans(),
    is_included=st.booleans(),
    options=options,
)
BODIES = [
    b"",
    b"{",
    b"null",
    b"7",
    b'{"name": "x", "price": "2"}',
    b'{"name": 1}',
    b'{"body": {"name": "x"}, "second_body": {"a": [1]}, "single": 3}',
    b'{"single": "no", "body": null}',
    b"\xff",
]
TYPES = ["application/json", "application/vnd.api+json", "text/plain", "application/json; charset=latin-1", ""]
requests = st.builds(
    Sent,
    path_value=st.sampled_from(["7", "x", "a", "13", "5b6d7c3e-0e1f-4a2b-8c3d-4e5f6a7b8c9d", "%20"]),
    query=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5),
    headers=st.lists(
        st.one_of(
            st.tuples(st.just("X-Number"), st.sampled_from(["4", "no"])),
            st.tuples(st.just("X-Several"), st.sampled_from(["a", "b"])),
            st.tuples(st.just("User-Agent"), st.just("probe")),
            st.tuples(st.just("Cookie"), st.sampled_from(["session=1", "session=2; other=3"])),
        ),
        max_size=4,
    ).flatmap(
        lambda found: st.sampled_from(TYPES).map(lambda kind: [*found, ("Content-Type", kind)] if kind else found)
    ),
    body=st.sampled_from(BODIES),
    method=st.sampled_from(["POST", "POST", "GET", "PUT"]),
)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(shapes, st.lists(requests, min_size=5, max_size=5))
@example(
    Shape("int", ["body", "single"], [], ["response", "background"], "changed_status", is_async=True, is_included=True),
    [Sent("7", [], [("Content-Type", "application/json")], BODIES[6])],
)
def test_generated_routes_answer_generated_requests_equally(shape: Shape, sent: list[Sent]) -> None:
    own = asyncio.run(outcome(shape, APIRoute, sent))
    assert asyncio.run(outcome(shape, CompiledRoute, sent)) == own
    assert asyncio.run(outcome(shape, CompiledRoute, sent, [Middleware(CompiledRoutesMiddleware)])) == own


def test_what_is_generated_is_compiled_and_reaches_every_kind_of_answer() -> None:
    """The comparison would be worth nothing if it compared FastAPI with itself, or refusals with refusals."""
    shape = Shape("int", ["number"], [Dependency("async", "optional")], [], "given", is_async=True, is_included=False)
    app, _ = make_app(shape, CompiledRoute)
    route = app.routes[-1]
    assert isinstance(route, CompiledRoute)
    assert route.is_compiled
    sent = [
        Sent("7", [("number", "1")], [], b""),
        Sent("x", [("number", "1")], [], b""),
        Sent("7", [], [], b""),
        Sent("7", [], [], b"", method="PUT"),
    ]
    statuses = [answers[0][1] for answers, _ in asyncio.run(outcome(shape, CompiledRoute, sent))]
    assert statuses == [200, 422, 422, 405]
