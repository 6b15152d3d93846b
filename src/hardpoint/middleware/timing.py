"""How long the application took, told to the client."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.clock import Clock, monotonic_clock
from hardpoint.middleware._messages import add_header

__all__ = ["TimingMiddleware"]


class TimingMiddleware:
    """Add `Server-Timing: app;dur=…` with the milliseconds until the response's first byte (W3C Server Timing).

    Args:
        app: The application inside.
        metric: The metric's name.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, app: ASGIApp, *, metric: str = "app", clock: Clock = monotonic_clock) -> None:
        self.app = app
        self._prefix = f"{metric};dur="
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = self._clock()

        async def send_with_timing(message: Message) -> None:
            if message["type"] == "http.response.start":
                milliseconds = (self._clock() - started) * 1000
                add_header(message, b"server-timing", f"{self._prefix}{milliseconds:.2f}".encode("latin-1"))
            await send(message)

        await self.app(scope, receive, send_with_timing)
