"""The service's traces: what FastAPI tells of a request, and whether anything is exported."""

from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from typing import Final

from fastapi.telemetry import TelemetryConfig
from hardpoint.lifespan import HEALTH_PATHS, Opened, Resource
from hardpoint.log import get_logger
from hardpoint.metrics import METRICS_PATH
from hardpoint.tracing import is_export_wanted

from hardpoint.service.settings import Settings

__all__ = ["TELEMETRY", "exporting"]

logger = get_logger("hardpoint.service")

_UNTRACED: Final = frozenset({*HEALTH_PATHS, METRICS_PATH})

TELEMETRY: Final[TelemetryConfig] = {
    # An exception's text may quote what a client sent; our log leaves that out, FastAPI's log records do not.
    "logs": False,
    "exclude": lambda scope: scope["path"] in _UNTRACED,
}


def exporting(settings: Settings) -> list[Resource[None]]:
    """The resource that exports traces, where OpenTelemetry's variables ask for it."""
    if not is_export_wanted():
        return []
    if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.sdk") is None:
        logger.warning("traces_are_not_exported", remedy="pip install 'hardpoint[otel]'")
        return []

    def open_export(_: Opened) -> AbstractAsyncContextManager[None]:
        from hardpoint.tracing.otlp import open_tracing  # noqa: PLC0415 - it needs an extra that few have.

        return open_tracing(instance=settings.resolved_instance)

    return [Resource("tracing", open_export)]
