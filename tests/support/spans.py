"""What a trace and the log tell of one request."""

import json
import logging
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from hardpoint.log import JsonFormatter

CALLER = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CALLER}-b7ad6b7169203331-01"


def trace_of(span: ReadableSpan) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)


class Lines(logging.Handler):
    """What the log would be, formatted where it is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entries.append(json.loads(self.format(record)))
