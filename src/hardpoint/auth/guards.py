"""Default deny, checked: which routes let anybody in."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRouter, iter_route_contexts

from hardpoint.auth.dependencies import current_principal, is_scope_guard

__all__ = ["unguarded_routes"]


def unguarded_routes(app: FastAPI | APIRouter, *, guards: Collection[Callable[..., Any]] = ()) -> set[str]:
    """The routes that no guard stands before, as `METHOD /path`; `WEBSOCKET /path` and `MOUNT /path` for the others.

    For a test of your application that compares them with the ones that are meant to be public, so that a new route
    is either guarded or put on that list by somebody who thought of it:

        assert unguarded_routes(app) == {"GET /health/live", "POST /auth/login"}

    A route is guarded when `current_principal` or a `require_scope(...)` is among its dependencies, at any depth; so
    everything built on them counts: `current_user`, `require_role(...)`, `require_owner(...)`.

    Args:
        app: The application, or a router. A mounted application is another one; check it by itself.
        guards: Further dependencies that count.
    """
    known = {current_principal, *guards}
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        dependant: Dependant | None = getattr(route, "dependant", None)
        if dependant is not None and any(call in known or is_scope_guard(call) for call in _calls(dependant)):
            continue
        found.update(f"{kind} {route.path}" for kind in _kinds(route))
    return found


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def _kinds(route: Any) -> Iterable[str]:
    methods: set[str] | None = route.methods
    if methods:
        # Starlette adds HEAD to each GET.
        return methods - {"HEAD"} if "GET" in methods else methods
    return ["WEBSOCKET" if "websocket" in type(route.original_route).__name__.lower() else "MOUNT"]
