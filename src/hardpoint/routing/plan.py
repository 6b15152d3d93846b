"""What a route needs, worked out once: FastAPI's `solve_dependencies` with all that is the same for each request done.

The order of every step is FastAPI's, and so is whatever is rare: parameters that are models or lists, embedded bodies,
generators, errors. What is done here alone is reading single values, calling functions, and remembering what they gave.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Final

from fastapi import BackgroundTasks, Request, Response
from fastapi._compat import ModelField, Undefined, field_annotation_is_sequence
from fastapi._compat.v2 import _regenerate_error_with_loc
from fastapi.dependencies.models import (
    Dependant,
    _get_cache_key,
    _get_computed_scope,
    _get_oauth_scopes,
    _is_async_gen_callable,
    _is_coroutine_callable,
    _is_gen_callable,
)
from fastapi.dependencies.utils import (
    _get_param_aliases,
    _get_param_model,
    _is_json_field,
    _solve_generator,
    _validate_value_with_model_field,
    request_body_to_args,
    request_params_to_args,
)
from fastapi.security import SecurityScopes
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

__all__ = ["Kind", "Plan", "Run", "Step", "located_errors", "make_plan", "solve"]

# Defaults of these kinds are the same for everybody; of others each request gets a copy.
_CONSTANTS: Final = (type(None), bool, int, float, str, bytes)


class Kind(Enum):
    """How a dependency is called."""

    COROUTINE = "coroutine"
    FUNCTION = "function"
    GENERATOR = "generator"


class Run:
    """What one request gathers on its way."""

    __slots__ = (
        "_request",
        "_request_class",
        "background_tasks",
        "body",
        "known",
        "receive",
        "response",
        "scope",
        "send",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_class: type[Request]) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.body: Any = Undefined
        self.background_tasks: BackgroundTasks | None = None
        self.response: Response | None = None
        self.known: dict[int, Any] = {}
        self._request_class = request_class
        self._request: Request | None = None

    @property
    def request(self) -> Request:
        """The request, made when it is first asked for: many routes do without."""
        if self._request is None:
            self._request = self._request_class(self.scope, self.receive, self.send)
        return self._request

    @request.setter
    def request(self, request: Request) -> None:
        self._request = request

    def shared_response(self) -> Response:
        """The response whose headers and status dependencies may set, as FastAPI makes it."""
        if self.response is None:
            self.response = Response()
            del self.response.headers["content-length"]
            self.response.status_code = None  # type: ignore[assignment]  # Until somebody sets it.
        return self.response


class _Value:
    """A parameter that is one value of a request, under one name."""

    __slots__ = ("adapter", "alias", "constant", "field", "has_constant", "loc", "name")

    def __init__(self, model_field: ModelField, alias: str) -> None:
        info: Any = model_field.field_info
        self.field = model_field
        self.adapter = model_field._type_adapter
        self.name = model_field.name
        self.alias = alias
        self.loc = (info.in_.value, alias)
        self.constant = info.default
        self.has_constant = (
            not info.is_required()
            and info.default_factory is None
            and not info.validate_default
            and type(info.default) in _CONSTANTS
        )

    def read(self, received: Mapping[str, Any], values: dict[str, Any], errors: list[Any]) -> None:
        value = received.get(self.alias)
        if value is None:
            if self.has_constant:
                values[self.name] = self.constant
                return
            value, found = _validate_value_with_model_field(
                field=self.field, value=Undefined, values=values, loc=self.loc
            )
            if found:
                errors.extend(found)
            else:
                values[self.name] = value
            return
        # What `ModelField.validate` does, without the two calls in between.
        try:
            values[self.name] = self.adapter.validator.validate_python(value, from_attributes=True)
        except ValidationError as error:
            errors.extend(located_errors(error, self.loc))


def located_errors(error: ValidationError, loc: tuple[str, ...]) -> list[dict[str, Any]]:
    """What is wrong, below the place where it was found, as FastAPI tells it."""
    return _regenerate_error_with_loc(errors=error.errors(include_url=False), loc_prefix=loc)


class _Others:
    """Parameters that FastAPI had better read: models, lists, several names."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[ModelField]) -> None:
        self.fields = fields

    def read(self, received: Mapping[str, Any], values: dict[str, Any], errors: list[Any]) -> None:
        found, wrong = request_params_to_args(self.fields, received)
        values.update(found)
        errors.extend(wrong)


def _readers(fields: list[ModelField]) -> "tuple[_Value | _Others, ...]":
    return tuple(_reader(each) for each in fields)


def _reader(model_field: ModelField) -> _Value | _Others:
    aliases = _get_param_aliases(model_field)
    is_list = field_annotation_is_sequence(model_field.field_info.annotation)
    if _get_param_model(model_field) is not None or len(aliases) != 1 or is_list or _is_json_field(model_field):
        return _Others([model_field])
    return _Value(model_field, aliases[0][1])


@dataclass(slots=True)
class Step:
    """A dependency, or the endpoint, with what it needs."""

    dependant: Dependant
    call: Callable[..., Any]
    name: str | None
    kind: Kind
    children: "tuple[Step, ...]"
    # What it is known by once it was called, and whether it may be taken from there.
    key: int
    is_cached: bool
    # Whether solving it again would find everything that it needs in the cache.
    is_repeatable: bool
    is_function_scoped: bool
    # By what gives the values among which they are looked for, in FastAPI's order.
    parameters: tuple[tuple[Callable[[Run], Mapping[str, Any]], tuple[_Value | _Others, ...]], ...]
    body: list[ModelField]
    embeds_body: bool
    # Under which names it gets the request itself.
    request_names: tuple[str, ...]
    specials: tuple[tuple[str, Callable[[Run], Any]], ...]
    # Whether it takes anything else from the request.
    reads: bool
    is_coroutine: bool
    # Under which names it gets what, of what is known by then.
    names: tuple[str, ...]
    keys: tuple[int, ...]

    @property
    def has_limits(self) -> bool:
        """Whether anything in it limits how often it runs at once."""
        return self.dependant.concurrency is not None or any(child.has_limits for child in self.children)


def make_step(dependant: Dependant, *, embeds_body: bool, keys: dict[Any, int] | None = None) -> Step:
    """What `dependant` and everything below it need; `keys` numbers what may be taken from the cache."""
    # The endpoint is never taken from the cache, and so need not have a hash.
    is_root = keys is None
    keys = {} if keys is None else keys
    children = tuple(make_step(each, embeds_body=embeds_body, keys=keys) for each in dependant.dependencies)
    call: Any = dependant.call
    if _is_gen_callable(call) or _is_async_gen_callable(call):
        kind = Kind.GENERATOR
    else:
        kind = Kind.COROUTINE if _is_coroutine_callable(call) else Kind.FUNCTION
    parameters = tuple((place, _readers(fields)) for place, fields in _places(dependant) if fields)
    specials = tuple(_specials(dependant))
    given = [child for child in children if child.name is not None]
    return Step(
        dependant=dependant,
        call=call,
        name=dependant.name,
        kind=kind,
        children=children,
        key=-1 if is_root else keys.setdefault(_get_cache_key(dependant=dependant), len(keys)),
        is_cached=dependant.use_cache,
        is_repeatable=dependant.use_cache and all(child.is_repeatable for child in children),
        is_function_scoped=_get_computed_scope(dependant=dependant) == "function",
        parameters=parameters,
        body=dependant.body_params,
        embeds_body=embeds_body,
        request_names=tuple(
            name for name in (dependant.http_connection_param_name, dependant.request_param_name) if name
        ),
        specials=specials,
        reads=bool(parameters or specials or dependant.body_params),
        is_coroutine=kind is Kind.COROUTINE,
        names=tuple(child.name for child in given if child.name is not None),
        keys=tuple(child.key for child in given),
    )


def _path_params(run: Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.scope.get("path_params", {})
    return found


def _places(dependant: Dependant) -> list[tuple[Callable[[Run], Mapping[str, Any]], list[ModelField]]]:
    return [
        (_path_params, dependant.path_params),
        (attrgetter("request.query_params"), dependant.query_params),
        (attrgetter("request.headers"), dependant.header_params),
        (attrgetter("request.cookies"), dependant.cookie_params),
    ]


def _specials(dependant: Dependant) -> list[tuple[str, Callable[[Run], Any]]]:
    scopes = _get_oauth_scopes(dependant=dependant)
    named: list[tuple[str | None, Callable[[Run], Any]]] = [
        (dependant.background_tasks_param_name, _background_tasks),
        (dependant.response_param_name, Run.shared_response),
        (dependant.security_scopes_param_name, lambda _: SecurityScopes(scopes=scopes.copy())),
    ]
    return [(name, give) for name, give in named if name]


def _background_tasks(run: Run) -> BackgroundTasks:
    if run.background_tasks is None:
        run.background_tasks = BackgroundTasks()
    return run.background_tasks


@dataclass(slots=True)
class Plan:
    """All that a route needs.

    Attributes:
        root: The endpoint.
        straight: Its dependencies, each once and after what it needs itself; `None` when one of them wants to be called
            anew each time.
        constants: What those give that are there for the document alone, and are not called.
    """

    root: Step
    straight: tuple[Step, ...] | None
    constants: dict[int, None]


def make_plan(dependant: Dependant, *, embeds_body: bool) -> Plan:
    """The plan of a route."""
    root = make_step(dependant, embeds_body=embeds_body)
    if not all(child.is_repeatable for child in root.children):
        return Plan(root, None, {})
    straight: dict[int, Step] = {}

    def add(step: Step) -> None:
        for child in step.children:
            add(child)
            straight.setdefault(child.key, child)

    add(root)
    # Compared, because an object that has every attribute, such as a mock, is none of them.
    constants = {key: None for key, step in straight.items() if getattr(step.call, "hardpoint_is_inert", None) is True}
    return Plan(root, tuple(step for step in straight.values() if step.key not in constants), constants)


async def solve(plan: Plan, run: Run) -> tuple[dict[str, Any], list[Any]]:
    """The arguments of the endpoint, and what is wrong with the request."""
    if plan.straight is None:
        return await _solve(plan.root, run)
    known = run.known
    errors: list[Any] = []
    known.update(plan.constants)
    for step in plan.straight:
        values = dict(zip(step.names, map(known.__getitem__, step.keys), strict=True)) if step.names else {}
        # Most links of a chain ask for nothing but these two, which are given without a call.
        for name in step.request_names:
            values[name] = run.request
        if step.reads:
            _gather_most(step, run, values, errors)
            if step.body:
                await _gather_body(step, run, values, errors)
            if errors:
                # What is wrong is told in the order and as often as FastAPI meets it; what was called is known.
                return await _solve(plan.root, run)
        known[step.key] = await (step.call(**values) if step.is_coroutine else _call(step, run, values))
    step = plan.root
    values = dict(zip(step.names, map(known.__getitem__, step.keys), strict=True)) if step.names else {}
    for name in step.request_names:
        values[name] = run.request
    if step.reads:
        _gather_most(step, run, values, errors)
        if step.body:
            await _gather_body(step, run, values, errors)
    return await _solve(step, run) if errors else (values, errors)


async def _solve(step: Step, run: Run) -> tuple[dict[str, Any], list[Any]]:
    # As FastAPI does: what depends on something wrong is not called, all that is wrong is told.
    values: dict[str, Any] = {}
    errors: list[Any] = []
    known = run.known
    for child in step.children:
        key = child.key
        arguments: dict[str, Any] = {}
        if not (child.is_repeatable and key in known):
            arguments, wrong = await _solve(child, run)
            if wrong:
                errors.extend(wrong)
                continue
        if child.is_cached and key in known:
            solved = known[key]
        else:
            solved = await _call(child, run, arguments)
        if child.name is not None:
            values[child.name] = solved
        known.setdefault(key, solved)
    for name in step.request_names:
        values[name] = run.request
    _gather_most(step, run, values, errors)
    if step.body:
        await _gather_body(step, run, values, errors)
    return values, errors


async def _call(step: Step, run: Run, arguments: dict[str, Any]) -> Any:
    if step.kind is Kind.COROUTINE:
        return await step.call(**arguments)
    if step.kind is Kind.FUNCTION:
        return await run_in_threadpool(step.call, **arguments)
    scope = run.scope
    stack = scope["fastapi_function_astack" if step.is_function_scoped else "fastapi_inner_astack"]
    return await _solve_generator(dependant=step.dependant, request=run.request, stack=stack, sub_values=arguments)


async def _gather_body(step: Step, run: Run, values: dict[str, Any], errors: list[Any]) -> None:
    found, wrong = await request_body_to_args(
        body_fields=step.body, received_body=run.body, embed_body_fields=step.embeds_body
    )
    values.update(found)
    errors.extend(wrong)


def _gather_most(step: Step, run: Run, values: dict[str, Any], errors: list[Any]) -> None:
    for values_of, readers in step.parameters:
        received = values_of(run)
        for reader in readers:
            reader.read(received, values, errors)
    for name, give in step.specials:
        values[name] = give(run)
