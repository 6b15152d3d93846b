"""Resolving FastAPI dependencies where no route does: for a job, a WebSocket message, a channel."""

from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import solve_dependencies
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.websockets import WebSocket

__all__ = ["Overrides", "resolved"]

Scope = MutableMapping[str, Any]


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


async def _nothing_to_receive() -> MutableMapping[str, Any]:
    raise RuntimeError("A dependency that is resolved outside of its route must not read from the connection")


async def _nowhere_to_send(_message: MutableMapping[str, Any]) -> None:
    raise RuntimeError("A dependency that is resolved outside of its route must not write to the connection")
