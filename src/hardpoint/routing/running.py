"""One route's handler, equal to the one that FastAPI makes of it."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from email.message import Message
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NoReturn

from fastapi import Request, Response, params, routing
from fastapi._compat import Undefined, lenient_issubclass
from fastapi.datastructures import DefaultPlaceholder
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import EndpointContext, RequestValidationError, ResponseValidationError
from fastapi.sse import EventSourceResponse
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import TypeAdapter, ValidationError
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.concurrency import run_in_threadpool
from starlette.types import Message as ASGIMessage
from starlette.types import Receive, Scope, Send

from hardpoint.routing.plan import Kind, Plan, Run, located_errors, make_plan, solve

__all__ = ["CompiledHandler", "compile_handler", "hand_on", "has_something", "place_of", "place_of_request"]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# What others replace who want to see every request, such as error trackers; FastAPI's own handler calls theirs.
_REPLACEABLE: Final = (
    "get_request_handler",
    "request_response",
    "run_endpoint_function",
    "serialize_response",
    "solve_dependencies",
)
_functions: Final = itemgetter(*_REPLACEABLE)
_MODULE: Final = vars(routing)
_OWN: Final = _functions(_MODULE)


def _was_replaced_before() -> bool:
    folder = str(Path(routing.__file__).parent)
    return not all(function.__code__.co_filename.startswith(folder) for function in _OWN)


def place_of(route: routing.APIRoute) -> Any:
    """What a route is at the moment of its registration: itself, or what an including router makes of it."""
    context = routing._effective_route_context_var.get()
    return context if context is not None and context.original_route is route else route


def place_of_request(route: routing.APIRoute, scope: Scope) -> Any:
    """The same for a request."""
    context = routing._get_scope_effective_route_context(scope)
    return context if context is not None and context.original_route is route else route


def compile_handler(place: Any, handler: Handler, *, request_class: type[Request]) -> "CompiledHandler | None":
    """The handler of a route in a place, or `None` when it needs what only FastAPI's own does.

    Args:
        place: What `place_of` gave.
        handler: FastAPI's own.
        request_class: The class of the request.
    """
    is_form = place.body_field is not None and isinstance(place.body_field.field_info, params.Form)
    if _was_replaced_before() or is_form or place.is_json_stream:
        return None
    if lenient_issubclass(_given(place.response_class), EventSourceResponse):
        return None
    plan = make_plan(place.dependant, embeds_body=place._embed_body_fields)
    if plan.root.kind is Kind.GENERATOR or plan.root.has_limits:
        return None
    return CompiledHandler(place, handler, plan, request_class)


def _given(value: Any) -> Any:
    return value.value if isinstance(value, DefaultPlaceholder) else value


class CompiledHandler:
    """A route, ready to be run.

    Attributes:
        is_direct: Whether it can answer as an ASGI application, without FastAPI's own around it.
    """

    def __init__(self, place: Any, handler: Handler, plan: Plan, request_class: type[Request]) -> None:
        self._handler = handler
        self._plan = plan
        self._step = plan.root
        self._dependencies = list(plan.root.dependant.dependencies)
        self._request_class = request_class
        # FastAPI puts that limit around the handler.
        self.is_direct = place.max_body_size is None
        self._methods: frozenset[str] = frozenset(place.methods)
        self._overrides = place.dependency_overrides_provider
        self._has_body = place.body_field is not None
        self._needs_content_type = _given(place.strict_content_type)
        self._status_code: int | None = place.status_code or None
        self._field = place.response_field
        self._response_class: type[Response] = _given(place.response_class)
        self._makes_json = self._field is not None and isinstance(place.response_class, DefaultPlaceholder)
        status = self._status_code or 200
        # Then the answer may go out without a `Response`, about which nothing is left to be found out.
        self._sends_json = (
            self._makes_json and self._step.kind is Kind.COROUTINE and is_body_allowed_for_status_code(status)
        )
        self._json_start = {"type": "http.response.start", "status": status}
        self._options = {
            "include": place.response_model_include,
            "exclude": place.response_model_exclude,
            "by_alias": place.response_model_by_alias,
            "exclude_unset": place.response_model_exclude_unset,
            "exclude_defaults": place.response_model_exclude_defaults,
            "exclude_none": place.response_model_exclude_none,
        }
        # A keyword that says what is so anyway costs as much as one that does not.
        # An empty `include` leaves out everything.
        self._json_options = {
            name: value
            for name, value in self._options.items()
            if value or name == "by_alias" or (name == "include" and value is not None)
        }

    def may_answer(self, scope: Scope) -> bool:
        """Whether this request is one that this handler understands."""
        return scope["method"] in self._methods and not self._is_left_to_fastapi(scope)

    def _is_left_to_fastapi(self, scope: Scope) -> bool:
        overrides = self._overrides
        dependant = self._step.dependant
        return bool(
            (overrides is not None and overrides.dependency_overrides)
            # Where FastAPI keeps what it has to tell OpenTelemetry of the request.
            or scope.get("fastapi.telemetry") is not None
            or _functions(_MODULE) != _OWN
            # Guards are put before routes that exist by adding to this list, which FastAPI reads with each request.
            or dependant.dependencies != self._dependencies
            or dependant.call is not self._step.call
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What FastAPI's `request_response` does, in one function.
        run = Run(scope, receive, send, self._request_class)
        request_stack = scope["fastapi_inner_astack"] = AsyncExitStack()
        function_stack = scope["fastapi_function_astack"] = AsyncExitStack()
        has_started = has_answered = False

        def sender(message: ASGIMessage) -> Awaitable[None]:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
            return send(message)

        try:
            try:
                result = await self._result(run)
                response, body = None, b""
                is_bare = run.response is None and run.background_tasks is None
                if self._sends_json and is_bare and not isinstance(result, Response):
                    body = self._json(result, run)
                else:
                    response = await self._response_of(result, run)
                # As blocks around this, the stacks would cost 4 microseconds; few requests put anything on them.
                if has_something(function_stack):
                    await function_stack.aclose()
                if response is not None:
                    await response(scope, receive, sender)
                else:
                    has_started = True
                    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
                    await send({**self._json_start, "headers": headers})
                    await send({"type": "http.response.body", "body": body})
                has_answered = True
                if has_something(request_stack):
                    await request_stack.aclose()
            except BaseException as error:
                async with request_stack:
                    async with function_stack:
                        raise
                    # Swallowed before there was a response: FastAPI fails here, seen by what waits for the request.
                    raise UnboundLocalError("A dependency with `yield` has swallowed an exception") from error
        except Exception as error:  # noqa: BLE001 - Starlette finds out whose it is.
            await hand_on(error, run.request, send, has_started=has_started)
        else:
            if not has_answered:
                await routing.request_response(_fail_and_swallow)(scope, receive, send)

    async def handle(self, request: Request) -> Response:
        """The response to `request`, inside of what FastAPI has around a handler."""
        if self._is_left_to_fastapi(request.scope):
            return await self._handler(request)
        run = Run(request.scope, request.receive, request._send, self._request_class)
        if isinstance(request, self._request_class):
            # Somebody may have read its body, which it remembers, or reads it in another way.
            run.request = request
        return await self._response_of(await self._result(run), run)

    async def _result(self, run: Run) -> Any:
        if self._has_body:
            try:
                run.body = await self._read_body(run.request)
            except Exception as error:  # noqa: BLE001 - FastAPI says what becomes of it.
                # Nothing has run yet, and reading fails for FastAPI as it did here.
                return await self._handler(Request(run.scope, _raising(error)))
        step = self._step
        values, errors = await solve(self._plan, run)
        if errors:
            body = None if run.body is Undefined else run.body
            raise RequestValidationError(errors, body=body, endpoint_ctx=self._where(run.request))
        if step.kind is Kind.COROUTINE:
            return await step.call(**values)
        return await run_in_threadpool(step.call, **values)

    async def _response_of(self, result: Any, run: Run) -> Response:
        if isinstance(result, Response):
            if result.background is None:
                result.background = run.background_tasks
            return result
        return await self._make_response(result, run)

    async def _read_body(self, request: Request) -> Any:
        content = await request.body()
        if not content:
            return Undefined
        content_type = request.headers.get("content-type")
        is_json = _is_json(content_type) if content_type else not self._needs_content_type
        return await request.json() if is_json else content

    def _json(self, result: Any, run: Run) -> bytes:
        # What `_serialized` does, without the calls in between.
        adapter: TypeAdapter[Any] = self._field._type_adapter
        try:
            value = adapter.validator.validate_python(result, from_attributes=True)
        except ValidationError as error:
            errors = located_errors(error, ("response",))
        else:
            return adapter.serializer.to_json(value, **self._json_options)
        raise ResponseValidationError(errors=errors, body=result, endpoint_ctx=self._where(run.request))

    async def _make_response(self, result: Any, run: Run) -> Response:
        content = await self._serialized(result, run)
        arguments: dict[str, Any] = {"background": run.background_tasks}
        status_code = self._status_code
        if run.response is not None:
            status_code = run.response.status_code or status_code
        if status_code is not None:
            arguments["status_code"] = status_code
        if self._makes_json:
            response = Response(content=content, media_type="application/json", **arguments)
        else:
            response = self._response_class(content, **arguments)
        if not is_body_allowed_for_status_code(response.status_code):
            response.body = b""
        if run.response is not None:
            response.headers.raw.extend(run.response.headers.raw)
        return response

    async def _serialized(self, result: Any, run: Run) -> Any:
        if self._field is None:
            return result if _is_plain(result) else jsonable_encoder(result)
        if self._step.kind is Kind.COROUTINE:
            value, errors = self._field.validate(result, {}, loc=("response",))
        else:
            value, errors = await run_in_threadpool(self._field.validate, result, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors=errors, body=result, endpoint_ctx=self._where(run.request))
        serialize = self._field.serialize_json if self._makes_json else self._field.serialize
        return serialize(value, **self._options)

    def _where(self, request: Request) -> EndpointContext:
        # What FastAPI tells of the endpoint in its errors.
        found = routing._extract_endpoint_context(self._step.call)
        if self._step.dependant.path:
            mounted_at = request.scope.get("root_path", "").rstrip("/")
            found["path"] = f"{request.method} {mounted_at}{self._step.dependant.path}"
        return found


async def _fail_and_swallow(request: Request) -> NoReturn:
    # A dependency with `yield` has swallowed an error. FastAPI has words for that, which it says when it happens again.
    request.scope["fastapi_inner_astack"].push(lambda *_: True)
    raise RuntimeError


async def hand_on(error: Exception, request: Request, send: Send, *, has_started: bool) -> None:
    """Let Starlette search for a handler of `error`, as where an answer has begun or not.

    Raises:
        Exception: `error`, which nobody handles; or what the handler raises.
    """

    async def failing(_scope: Scope, _receive: Receive, note: Send) -> None:
        if has_started:
            await note({"type": "http.response.start"})
        raise error

    async def nowhere(_message: ASGIMessage) -> None:
        pass

    app = wrap_app_handling_exceptions(failing, request)
    await app(request.scope, request.receive, nowhere if has_started else send)


def has_something(stack: AsyncExitStack) -> bool:
    """Whether anything waits for the end of `stack`."""
    return bool(stack._exit_callbacks)  # type: ignore[attr-defined] # It says so in no other way.


def _raising(error: Exception) -> Receive:
    async def receive() -> NoReturn:
        raise error

    return receive


# Clients send a handful of content types; their parameters are the clients' own, so the cache is small.
@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _is_plain(value: Any) -> bool:
    """Whether `jsonable_encoder` would give an equal value; it takes ten times as long to say so."""
    kind = type(value)
    if kind is dict:
        # Keys that begin with `_sa` are SQLAlchemy's, and are left out by the encoder.
        return all(type(key) is str and not key.startswith("_sa") and _is_plain(value[key]) for key in value)
    if kind is list:
        return all(_is_plain(item) for item in value)
    return kind in _PLAIN


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
