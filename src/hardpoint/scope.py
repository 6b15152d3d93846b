"""What an ASGI scope tells of a request, beyond what Starlette reads from it."""

from typing import Any

from starlette.types import Scope

__all__ = ["of_lifespan", "route_methods", "route_template"]


def of_lifespan(scope: Scope, name: str) -> Any:
    """What the lifespan's state holds under `name`.

    Raises:
        RuntimeError: Nothing, or no lifespan has run.
    """
    # Not `connection.state`, which makes an object to say the same.
    try:
        return scope["state"][name]
    except KeyError:
        raise RuntimeError(
            f"The lifespan's state has no {name!r}: the lifespan must open a resource of that name, and a test client "
            "must run the lifespan, which Starlette's does as a context manager alone"
        ) from None


def route_template(scope: Scope) -> str | None:
    """The path of the route that took the request, with its parameters' names; `None` when no route has."""
    path: str | None = getattr(_route(scope), "path", None)
    if path is None:
        return None
    if "app_root_path" not in scope or any(f"{{{name}" not in path for name in scope.get("path_params", {})):
        # Not below a mount, or below one with parameters, of which only the values are known here.
        return path
    mounted: str = scope["root_path"].removeprefix(scope["app_root_path"])
    return mounted + path


def route_methods(scope: Scope) -> frozenset[str]:
    """Every method of the route that took the request; none of a WebSocket's."""
    return frozenset(getattr(_route(scope), "methods", None) or ())


def _route(scope: Scope) -> Any:
    # FastAPI keeps an included route as it was declared, and the whole path beside it.
    inner: Any = scope.get("fastapi")
    return (inner.get("effective_route_context") if inner else None) or scope.get("route")
