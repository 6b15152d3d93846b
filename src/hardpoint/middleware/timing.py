"""How long the application took, told to the client."""

from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.clock import Clock, monotonic_clock

__all__ = ["TimingMiddleware"]


class TimingMiddleware(Part):
    """Add `Server-Timing: app;dur=…` with the milliseconds until the response's first byte (W3C Server Timing).

    Args:
        app: The application inside.
        metric: The metric's name.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, app: ASGIApp, *, metric: str = "app", clock: Clock = monotonic_clock) -> None:
        super().__init__(app)
        self._format = metric.encode("latin-1") + b";dur=%.2f"
        self._clock = clock

    def begin(self, exchange: Exchange) -> None:
        """Note when the request began."""
        began = self._clock()

        def add_timing(message: Message) -> None:
            message["headers"].append((b"server-timing", self._format % ((self._clock() - began) * 1_000)))

        exchange.on_start(add_timing)
