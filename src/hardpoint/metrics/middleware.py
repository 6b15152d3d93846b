"""Requests counted and timed, by method, route and status."""

from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.clock import Clock, monotonic_clock
from hardpoint.metrics.core import Metrics

__all__ = ["MetricsMiddleware", "route_template"]

# Whatever else a client sends is one label: labels that clients choose would fill the memory.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})
_OTHER: Final = "other"
_CLIENT_LEFT: Final = 499
_BROKEN: Final = 500


class MetricsMiddleware:
    """Count every HTTP request and how long it took, and those in flight. WebSockets pass.

    A request is known by its route's template, `/posts/{post_id}`; one that no route matched, and a method that HTTP
    does not have, are `other`. A client that left before an answer began is counted as 499, as nginx does.

    Args:
        app: The application inside.
        metrics: Where to count; by default what the lifespan's state holds as `metrics`. Without either, nothing is.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics | None = None, clock: Clock = monotonic_clock) -> None:
        self.app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics = self._metrics_for(scope)
        if metrics is None:
            await self.app(scope, receive, send)
            return
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = self._clock()
        metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watched_send)
        except Exception:
            # What is raised through all middleware is answered by the server, with a 500.
            status = status or _BROKEN
            raise
        finally:
            metrics.in_flight.dec()
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            metrics.answered(method, route_template(scope), status or _CLIENT_LEFT, self._clock() - began)

    def _metrics_for(self, scope: Scope) -> Metrics | None:
        if scope["type"] != "http":
            return None
        if self._metrics is not None:
            return self._metrics
        metrics: Metrics | None = scope.get("state", {}).get("metrics")
        return metrics


def route_template(scope: Scope) -> str:
    """The path of the route that took the request, with its parameters' names, or `other`."""
    # FastAPI keeps an included route as it was declared, and the whole path beside it.
    inner: Any = scope.get("fastapi")
    route = (inner.get("effective_route_context") if inner else None) or scope.get("route")
    path: str | None = getattr(route, "path", None)
    if path is None:
        return _OTHER
    if "app_root_path" not in scope or any(f"{{{name}" not in path for name in scope.get("path_params", {})):
        # Not below a mount, or below one with parameters, of which only the values are known here.
        return path
    mounted: str = scope["root_path"].removeprefix(scope["app_root_path"])
    return mounted + path
