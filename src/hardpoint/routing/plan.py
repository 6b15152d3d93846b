"""What a route needs, worked out once: FastAPI's `solve_dependencies` with all that is the same for each request done.

The order of every step is FastAPI's, and so is whatever is rare: parameters that are models or lists, embedded bodies,
generators, errors. What is done here alone is reading single values, calling functions, and remembering what they gave.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from fastapi import BackgroundTasks, Request, Response
from fastapi._compat import ModelField, Undefined, field_annotation_is_sequence
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
from starlette.concurrency import run_in_threadpool

__all__ = ["Run", "Step", "make_step", "solve"]

# Defaults of these kinds are the same for everybody; of others each request gets a copy.
_CONSTANTS: Final = (type(None), bool, int, float, str, bytes)


class Kind(Enum):
    """How a dependency is called."""

    COROUTINE = "coroutine"
    FUNCTION = "function"
    GENERATOR = "generator"


@dataclass(slots=True)
class Run:
    """What one request gathers on its way."""

    request: Request
    body: Any = Undefined
    background_tasks: BackgroundTasks | None = None
    response: Response | None = None
    known: dict[int, Any] = field(default_factory=dict)

    def shared_response(self) -> Response:
        """The response whose headers and status dependencies may set, as FastAPI makes it."""
        if self.response is None:
            self.response = Response()
            del self.response.headers["content-length"]
            self.response.status_code = None  # type: ignore[assignment]  # Until somebody sets it.
        return self.response


class _Value:
    """A parameter that is one value of a request, under one name."""

    __slots__ = ("alias", "constant", "field", "has_constant", "loc", "name")

    def __init__(self, model_field: ModelField, alias: str) -> None:
        info: Any = model_field.field_info
        self.field = model_field
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
        else:
            value, found = self.field.validate(value, values, loc=self.loc)
        if found:
            errors.extend(found)
        else:
            values[self.name] = value


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
    path: tuple[_Value | _Others, ...]
    query: tuple[_Value | _Others, ...]
    headers: tuple[_Value | _Others, ...]
    cookies: tuple[_Value | _Others, ...]
    body: list[ModelField]
    embeds_body: bool
    specials: tuple[tuple[str, Callable[[Run], Any]], ...]

    @property
    def has_limits(self) -> bool:
        """Whether anything in it limits how often it runs at once."""
        return self.dependant.concurrency is not None or any(child.has_limits for child in self.children)


def make_step(dependant: Dependant, *, embeds_body: bool, keys: dict[Any, int] | None = None) -> Step:
    """What `dependant` and everything below it need; `keys` numbers what may be taken from the cache."""
    keys = {} if keys is None else keys
    children = tuple(make_step(each, embeds_body=embeds_body, keys=keys) for each in dependant.dependencies)
    call: Any = dependant.call
    if _is_gen_callable(call) or _is_async_gen_callable(call):
        kind = Kind.GENERATOR
    else:
        kind = Kind.COROUTINE if _is_coroutine_callable(call) else Kind.FUNCTION
    return Step(
        dependant=dependant,
        call=call,
        name=dependant.name,
        kind=kind,
        children=children,
        key=keys.setdefault(_get_cache_key(dependant=dependant), len(keys)),
        is_cached=dependant.use_cache,
        is_repeatable=dependant.use_cache and all(child.is_repeatable for child in children),
        is_function_scoped=_get_computed_scope(dependant=dependant) == "function",
        path=_readers(dependant.path_params),
        query=_readers(dependant.query_params),
        headers=_readers(dependant.header_params),
        cookies=_readers(dependant.cookie_params),
        body=dependant.body_params,
        embeds_body=embeds_body,
        specials=tuple(_specials(dependant)),
    )


def _specials(dependant: Dependant) -> list[tuple[str, Callable[[Run], Any]]]:
    scopes = _get_oauth_scopes(dependant=dependant)
    named: list[tuple[str | None, Callable[[Run], Any]]] = [
        (dependant.http_connection_param_name, lambda run: run.request),
        (dependant.request_param_name, lambda run: run.request),
        (dependant.background_tasks_param_name, _background_tasks),
        (dependant.response_param_name, Run.shared_response),
        (dependant.security_scopes_param_name, lambda _: SecurityScopes(scopes=scopes.copy())),
    ]
    return [(name, give) for name, give in named if name]


def _background_tasks(run: Run) -> BackgroundTasks:
    if run.background_tasks is None:
        run.background_tasks = BackgroundTasks()
    return run.background_tasks


async def solve(step: Step, run: Run) -> tuple[dict[str, Any], list[Any]]:
    """The arguments of a step, and what is wrong with the request; what depends on something wrong is not called."""
    values: dict[str, Any] = {}
    errors: list[Any] = []
    known = run.known
    for child in step.children:
        key = child.key
        if child.is_repeatable and key in known:
            if child.name is not None:
                values[child.name] = known[key]
            continue
        # Most dependencies have none of their own, and need no coroutine to be solved.
        if child.children or child.body:
            arguments, wrong = await solve(child, run)
        else:
            arguments, wrong = {}, []
            _gather(child, run, arguments, wrong)
        if wrong:
            errors.extend(wrong)
            continue
        if child.is_cached and key in known:
            solved = known[key]
        elif child.kind is Kind.COROUTINE:
            solved = await child.call(**arguments)
        elif child.kind is Kind.FUNCTION:
            solved = await run_in_threadpool(child.call, **arguments)
        else:
            stack = "fastapi_function_astack" if child.is_function_scoped else "fastapi_inner_astack"
            solved = await _solve_generator(
                dependant=child.dependant,
                request=run.request,
                stack=run.request.scope[stack],
                sub_values=arguments,
            )
        if child.name is not None:
            values[child.name] = solved
        known.setdefault(key, solved)
    _gather(step, run, values, errors)
    if step.body:
        found, wrong = await request_body_to_args(
            body_fields=step.body, received_body=run.body, embed_body_fields=step.embeds_body
        )
        values.update(found)
        errors.extend(wrong)
    return values, errors


def _gather(step: Step, run: Run, values: dict[str, Any], errors: list[Any]) -> None:
    request = run.request
    for reader in step.path:
        reader.read(request.path_params, values, errors)
    for reader in step.query:
        reader.read(request.query_params, values, errors)
    for reader in step.headers:
        reader.read(request.headers, values, errors)
    for reader in step.cookies:
        reader.read(request.cookies, values, errors)
    for name, give in step.specials:
        values[name] = give(run)
