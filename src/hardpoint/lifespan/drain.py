"""Leaving without dropping anything: readiness first, then the requests in flight, then the server, then the resources.

A server that stops listening at SIGTERM refuses the connections that a load balancer still sends. Here the signal only
turns readiness to 503; the server goes on answering until nothing is in flight, and is then told to stop.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context
from types import FrameType
from typing import Any, Final

from starlette.types import ASGIApp, Message

from hardpoint.aio import running
from hardpoint.asgi import Exchange, Part
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.lifespan.health import HEALTH_PATHS
from hardpoint.log import get_logger
from hardpoint.texts import texts

__all__ = ["Drain", "DrainMiddleware", "open_drain"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS: Final = 0.05

logger = get_logger("hardpoint.drain")


class Drain:
    """Whether the service is leaving, and how many requests it still answers.

    Args:
        delay_seconds: How long to stay at least, so that load balancers see the 503.
        grace_seconds: How long to stay at most, whatever is in flight.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        delay_seconds: float = 0.5,
        grace_seconds: float = 20.0,
        clock: Clock = monotonic_clock,
    ) -> None:
        if not 0 <= delay_seconds <= grace_seconds:
            raise ValueError("delay_seconds must be between 0 and grace_seconds")
        self.delay_seconds = delay_seconds
        self.grace_seconds = grace_seconds
        self._clock = clock
        self._started = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._hand_over: Callable[[], None] = lambda: None
        self.in_flight = 0

    @property
    def draining(self) -> bool:
        """Whether the service is leaving."""
        return self._started.is_set()

    def on_draining(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop when the service begins to leave; at once if it has begun."""
        if self.draining:
            callback()
        else:
            self._callbacks.append(callback)

    def start(self) -> None:
        """Begin to leave: readiness answers 503 from now on."""
        if self.draining:
            return
        self._started.set()
        logger.info("draining", in_flight=self.in_flight)
        for callback in self._callbacks:
            callback()

    def give_up(self) -> None:
        """Tell the server to stop, now: the service has failed, and has nothing left to answer with."""
        self._hand_over()

    async def wait_until_asked(self) -> None:
        """Wait until the service begins to leave."""
        await self._started.wait()

    async def finished(self) -> None:
        """Wait until nothing is in flight, at least `delay_seconds` and at most `grace_seconds` from now."""
        began = self._clock()
        while (passed := self._clock() - began) < self.grace_seconds:
            if passed >= self.delay_seconds and self.in_flight == 0:
                logger.info("drained")
                return
            await asyncio.sleep(_POLL_SECONDS)
        logger.warning("drain_gave_up", in_flight=self.in_flight)


@asynccontextmanager
async def open_drain(*, delay_seconds: float = 0.5, grace_seconds: float = 20.0) -> AsyncIterator[Drain]:
    """A `Drain` that SIGTERM and SIGINT start, and that hands the signal to the server when it has finished.

    As a resource, declared first: `Resource("drain", lambda _: open_drain())`. The server's handler is the one that was
    installed when the lifespan starts, as uvicorn does. A second signal goes to the server at once. Outside of the main
    thread, where Python allows no handlers (a test client), it is never started by a signal.
    """
    drain = Drain(delay_seconds=delay_seconds, grace_seconds=grace_seconds)
    with _signals_chained(drain) as hand_over:
        drain._hand_over = hand_over  # noqa: SLF001 - of this module.
        async with running(_leave(drain, hand_over)):
            yield drain


async def _leave(drain: Drain, hand_over: Callable[[], None]) -> None:
    await drain.wait_until_asked()
    await drain.finished()
    hand_over()


@contextmanager
def _signals_chained(drain: Drain) -> Iterator[Callable[[], None]]:
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    loop = asyncio.get_running_loop()
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1 and callable(previous[number]):
            previous[number](number, frame)
        else:
            # A signal handler may interrupt anything; the loop is told and acts between two steps.
            # In a context of its own: whatever request was interrupted has nothing to do with it.
            loop.call_soon_threadsafe(drain.start, context=Context())

    def hand_over() -> None:
        number = received[0] if received else signal.SIGTERM
        if callable(previous[number]):
            previous[number](number, None)

    chained = [number for number in _SIGNALS if callable(previous[number])]
    for number in chained:
        signal.signal(number, handle)
    try:
        yield hand_over
    finally:
        for number in chained:
            if signal.getsignal(number) is handle:
                signal.signal(number, previous[number])


class DrainMiddleware(Part):
    """Count requests in flight for the `Drain` in the lifespan's state, and ask clients to move on while it drains.

    `Connection: close` (RFC 9112, section 9.6) makes HTTP/1.1 clients open their next connection elsewhere. Without a
    `Drain` in the state nothing is done.

    Args:
        app: The application inside.
        exempt_paths: Paths that are not waited for, such as health checks.
        state_name: The drain's name in the state.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        exempt_paths: Collection[str] = HEALTH_PATHS,
        state_name: str = "drain",
    ) -> None:
        super().__init__(app)
        self._exempt_paths = texts("exempt_paths", exempt_paths)
        self._state_name = state_name

    def on_request(self, exchange: Exchange) -> None:
        """Count the request."""
        drain: Drain | None = exchange.scope.get("state", {}).get(self._state_name)
        if drain is not None and exchange.scope["path"] not in self._exempt_paths:
            drain.in_flight += 1
            exchange.notes[self] = drain

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Say goodbye, when there is reason to."""
        drain: Drain | None = exchange.notes.get(self)
        if drain is not None and drain.draining and exchange.scope.get("http_version", "1.1").startswith("1"):
            message["headers"].append((b"connection", b"close"))

    def on_end(self, exchange: Exchange) -> None:
        """Count it off."""
        if (drain := exchange.notes.get(self)) is not None:
            drain.in_flight -= 1
