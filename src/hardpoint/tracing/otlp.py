"""Traces sent to a collector by OTLP over HTTP. Needs the extra `otel`.

Everything is set by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`,
`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and the others of its specification.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from hardpoint import __version__
from hardpoint.log import instance_name

__all__ = ["open_tracing"]

_FLUSH_MILLISECONDS: Final = 5_000


@asynccontextmanager
async def open_tracing(
    *, service: str = "hardpoint", version: str = __version__, instance: str | None = None
) -> AsyncIterator[None]:
    """Export traces meanwhile; what is left is sent at the end, for five seconds at most.

    A provider that was set before, as by `opentelemetry-instrument`, is left as it is and only flushed.

    As a resource, declared early: `Resource("tracing", lambda _: open_tracing(service="shop"))`.

    Args:
        service: `service.name`, where `OTEL_SERVICE_NAME` does not say it.
        version: `service.version`.
        instance: `service.instance.id`; by default `host:pid`.
    """
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        names = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
            "service.version": version,
            "service.instance.id": instance or instance_name(),
        }
        # The lifespan's end flushes; at the interpreter's end there may be no time.
        provider = TracerProvider(resource=Resource.create(names))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        current = trace.get_tracer_provider()
        if isinstance(current, TracerProvider):
            await asyncio.to_thread(current.force_flush, _FLUSH_MILLISECONDS)
