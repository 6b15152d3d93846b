"""How long the application took, told to the client."""

from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.texts import token

__all__ = ["TimingMiddleware"]


class TimingMiddleware(Part):
    """Add `Server-Timing: app;dur=…` with the milliseconds until the response's first byte (W3C Server Timing).

    Args:
        app: The application inside.
        metric: The metric's name.
        clock: A monotonic clock, in seconds.

    Raises:
        ValueError: `metric` is no token, which a header's syntax demands of it.
    """

    def __init__(self, app: ASGIApp, *, metric: str = "app", clock: Clock = monotonic_clock) -> None:
        super().__init__(app)
        self._format = token("metric", metric).replace(b"%", b"%%") + b";dur=%.2f"
        self._clock = clock

    def on_request(self, exchange: Exchange) -> None:
        """Note when the request began."""
        exchange.notes[self] = self._clock()

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Tell how long ago that was."""
        milliseconds = (self._clock() - exchange.notes[self]) * 1_000
        message["headers"].append((b"server-timing", self._format % milliseconds))
