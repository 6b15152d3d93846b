"""The span of a request, with its id and without what nobody should see."""

from typing import Final

from opentelemetry import trace

from hardpoint import context
from hardpoint.asgi import Exchange, Part
from hardpoint.tracing import REQUEST_ID_ATTRIBUTE

__all__ = ["TracingMiddleware"]

_HIDDEN: Final = "REDACTED"


class TracingMiddleware(Part):
    """Note the request's id on the span around it, and hide the query, in which tokens travel.

    The span is somebody else's: FastAPI's own, Starlette's `OpenTelemetryMiddleware`, or an instrumentation's. Without
    one this does nothing.

    Args:
        app: The application inside.
    """

    kinds = frozenset({"http", "websocket"})

    def on_request(self, exchange: Exchange) -> None:
        """Complete the span, if there is one."""
        span = trace.get_current_span()
        if span.is_recording():
            if (request_id := context.request_id.get()) is not None:
                span.set_attribute(REQUEST_ID_ATTRIBUTE, request_id)
            if exchange.scope.get("query_string"):
                span.set_attribute("url.query", _HIDDEN)
