"""Requests counted and timed, by method, route and status."""

from typing import Final

from starlette.types import ASGIApp

from hardpoint.arguments import check_argument
from hardpoint.asgi import Exchange, Part
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.metrics.core import Metrics
from hardpoint.scope import route_template

__all__ = ["MetricsMiddleware"]

# Whatever else a client sends is one label: labels that clients choose would fill the memory.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})
_OTHER: Final = "other"
_CLIENT_LEFT: Final = 499
_BROKEN: Final = 500


class MetricsMiddleware(Part):
    """Count every HTTP request and how long it took, and those in flight. WebSockets pass.

    A request is known by its route's template, `/posts/{post_id}`; one that no route matched, and a method that HTTP
    does not have, are `other`. A client that left before an answer began is counted as 499, as nginx does.

    Args:
        app: The application inside.
        metrics: Where to count; by default what the lifespan's state holds as `metrics`. Without either, nothing is.
        clock: A monotonic clock, in seconds.

    Raises:
        TypeError: `metrics` is something else.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics | None = None, clock: Clock = monotonic_clock) -> None:
        check_argument("metrics", metrics, Metrics | None, "Metrics()")
        super().__init__(app)
        self._metrics = metrics
        self._clock = clock

    def on_request(self, exchange: Exchange) -> None:
        """Count the request as in flight."""
        metrics: Metrics | None = self._metrics or exchange.scope.get("state", {}).get("metrics")
        if metrics is not None:
            metrics.in_flight.inc()
            exchange.notes[self] = metrics, self._clock(), _CLIENT_LEFT

    def on_error(self, exchange: Exchange, error: BaseException) -> None:
        """Note a crash: what is raised through all middleware is answered by the server, with a 500."""
        if (noted := exchange.notes.get(self)) is not None and isinstance(error, Exception):
            exchange.notes[self] = *noted[:2], _BROKEN

    def on_end(self, exchange: Exchange) -> None:
        """Count the answer."""
        if (noted := exchange.notes.get(self)) is not None:
            metrics, began, unanswered = noted
            scope = exchange.scope
            metrics.in_flight.dec()
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            metrics.answered(
                method, route_template(scope) or _OTHER, exchange.status or unanswered, self._clock() - began
            )
