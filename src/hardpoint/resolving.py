"""Resolving FastAPI dependencies where no route does: for a job, a WebSocket message, a channel, a link of a chain."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, solve_dependencies
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from hardpoint.scope import route_template

__all__ = ["Overrides", "has_overrides", "link", "resolved"]

T = TypeVar("T")
Scope = MutableMapping[str, Any]

# Where a scope holds what is replaced beyond the application's own overrides, and what replaced links have given.
_OVERRIDES: Final = "hardpoint.overrides"
_GIVEN: Final = "hardpoint.given"


@dataclass(frozen=True)
class Overrides:
    """Dependencies to replace in one call, in the form in which FastAPI looks for them."""

    dependency_overrides: Mapping[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)


@asynccontextmanager
async def resolved(
    dependant: Dependant, scope: Mapping[str, Any], *, overrides: Overrides | None = None
) -> AsyncIterator[dict[str, Any]]:
    """The values of a function's parameters, as FastAPI would give them to it.

    Dependencies with `yield` are closed when the block ends, in reverse; an exception of the block reaches them, so
    that a database session commits or rolls back with it. Dependencies that ask for the body find it empty.

    Args:
        dependant: What the function needs; `fastapi.dependencies.utils.get_dependant` says it.
        scope: The ASGI scope of the request or WebSocket, or what stands in for one; it is not changed.
        overrides: Dependencies to replace.

    Raises:
        RequestValidationError: A parameter is missing or not what it should be.
    """
    async with AsyncExitStack() as request_stack, AsyncExitStack() as function_stack:
        own: Scope = {
            **scope,
            "fastapi_inner_astack": request_stack,
            "fastapi_function_astack": function_stack,
            _OVERRIDES: overrides,
            _GIVEN: {},
        }
        connection: Request | WebSocket
        connection = Request(own) if own["type"] == "http" else WebSocket(own, _nothing_to_receive, _nowhere_to_send)
        solved = await solve_dependencies(
            request=connection,
            dependant=dependant,
            dependency_overrides_provider=overrides,
            async_exit_stack=request_stack,
            embed_body_fields=False,
        )
        if solved.errors:
            raise RequestValidationError(solved.errors)
        yield solved.values


def link(connection: HTTPConnection, dependency: Callable[..., Awaitable[T]], *arguments: Any) -> Awaitable[T]:
    """What a dependency gives that another one stands on: called with `arguments`, or resolved where it is overridden.

    What overrides it is called once in a request, however many ask for it here.

    As parameters the links of a chain are as easy to replace, but FastAPI goes through everything that a dependency
    needs again for each one that asks for it: a chain of nine took thirty-six steps of 10 microseconds each.

    Args:
        connection: The request or WebSocket that FastAPI has given to the one that asks.
        dependency: What is asked for, the key in `app.dependency_overrides`.
        *arguments: What it is called with where nothing replaces it.

    Raises:
        RequestValidationError: A parameter of what replaces it is missing or not what it should be; for a WebSocket
            `WebSocketRequestValidationError`.
    """
    overrides = getattr(_provider(connection), "dependency_overrides", None)
    if not overrides or dependency not in overrides:
        return dependency(*arguments)
    return _overridden(connection, dependency)


def has_overrides(connection: HTTPConnection) -> bool:
    """Whether anything at all is replaced. Where nothing is, a chain may do what its links do without asking each."""
    return bool(getattr(_provider(connection), "dependency_overrides", None))


def _provider(connection: HTTPConnection) -> Any:
    scope = connection.scope
    return scope.get(_OVERRIDES) or scope.get("app")


async def _overridden(connection: HTTPConnection, dependency: Callable[..., Any]) -> Any:
    scope = connection.scope
    given: dict[Callable[..., Any], Any] = scope.setdefault(_GIVEN, {})
    if dependency in given:
        return given[dependency]

    async def asking(found: Annotated[Any, Depends(dependency)]) -> None: ...

    solved = await solve_dependencies(
        request=connection,  # type: ignore[arg-type] # It is one of the two, asked for as what both are.
        dependant=get_dependant(path=route_template(scope) or "/", call=asking),
        dependency_overrides_provider=_provider(connection),
        async_exit_stack=scope["fastapi_inner_astack"],
        embed_body_fields=False,
    )
    if solved.errors:
        raise (RequestValidationError if scope["type"] == "http" else WebSocketRequestValidationError)(solved.errors)
    given[dependency] = solved.values["found"]
    return given[dependency]


async def _nothing_to_receive() -> MutableMapping[str, Any]:
    raise RuntimeError("A dependency that is resolved outside of its route must not read from the connection")


async def _nowhere_to_send(_message: MutableMapping[str, Any]) -> None:
    raise RuntimeError("A dependency that is resolved outside of its route must not write to the connection")
