"""One trace from the request to the job, by OpenTelemetry's API alone, which does nothing until a provider is set.

FastAPI itself opens the span of a request and continues the caller's trace (W3C Trace Context, `traceparent`). Here is
what carries it further: into a queue and out of it, into log lines and outgoing HTTP calls.

`hardpoint.tracing.otlp`, which exports, is imported by its own name, because it needs the extra `otel`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import propagate, trace
from opentelemetry.context import get_current
from opentelemetry.trace import Span, SpanKind

from hardpoint import __version__, context

__all__ = ["REQUEST_ID_ATTRIBUTE", "carried", "continued", "is_export_wanted", "trace_fields"]

REQUEST_ID_ATTRIBUTE: Final = "hardpoint.request_id"
"""What a span's request id is called."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_export_wanted() -> bool:
    """Whether OpenTelemetry's own variables name somebody to export traces to, and do not switch them off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


def trace_fields() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, in hexadecimal; nothing outside of one."""
    # An empty context has no span, which is told for a third of the price.
    if not get_current():
        return {}
    span = trace.get_current_span()
    if span is trace.INVALID_SPAN:
        return {}
    found = span.get_span_context()
    if not found.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}


def carried() -> dict[str, str]:
    """The current trace as headers, `traceparent` and what else the propagators write; nothing outside of one."""
    carrier: dict[str, str] = {}
    if trace.get_current_span() is not trace.INVALID_SPAN:
        propagate.inject(carrier)
    return carrier


@contextmanager
def continued(name: str, carrier: Mapping[str, str | None], attributes: Mapping[str, str | int]) -> Iterator[Span]:
    """A span for work that was queued, in the trace that queued it.

    What the block raises is noted by its class alone, because its text may hold what nobody should see.

    Args:
        name: The span's name.
        carrier: What `carried()` gave when it was queued; other entries are not looked at.
        attributes: The span's attributes; the request's id is added.
    """
    parent = propagate.extract({key: value for key, value in carrier.items() if value is not None})
    details = dict(attributes)
    if (request_id := context.request_id.get()) is not None:
        details[REQUEST_ID_ATTRIBUTE] = request_id
    tracer = trace.get_tracer("hardpoint", __version__)
    with tracer.start_as_current_span(
        name, parent, SpanKind.CONSUMER, details, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            raise
