"""A bound on how long a client waits for the first byte."""

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.errors import GatewayTimeout, error_response
from hardpoint.log import EventLogger, get_logger
from hardpoint.texts import texts

__all__ = ["TimeLimitMiddleware"]


class TimeLimitMiddleware(Part):
    """Cancel a request that has not begun to answer in time, and answer 504 (RFC 9110, section 15.6.5).

    The clock runs from the request's head to the response's first byte, so a body that trickles in counts and a
    response that streams for hours does not. The handler is cancelled at its next `await`: its `finally` blocks run,
    its transaction is rolled back. A synchronous handler in a thread cannot be cancelled; its client gets the 504 when
    the thread returns.

    Args:
        app: The application inside.
        seconds: The limit; more than 0.
        exempt_paths: Paths without a limit, such as long polls.
        logger: Where to log; `hardpoint.time_limit` by default.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        seconds: float,
        exempt_paths: Collection[str] = (),
        logger: EventLogger | None = None,
    ) -> None:
        if seconds <= 0:
            raise ValueError("seconds must be more than 0")
        super().__init__(app)
        self.seconds = seconds
        self._exempt_paths = texts("exempt_paths", exempt_paths)
        self._logger = logger if logger is not None else get_logger("hardpoint.time_limit")

    def on_request(self, exchange: Exchange) -> None:
        """Start the clock."""
        if exchange.scope["path"] not in self._exempt_paths:
            exchange.notes[self] = _Deadline(self.seconds)

    def on_response(self, exchange: Exchange, message: Message) -> None:  # noqa: ARG002
        """Stop it."""
        self.on_end(exchange)

    def on_error(self, exchange: Exchange, error: BaseException) -> ASGIApp | None:
        """Answer for the application that took too long."""
        deadline = exchange.notes.get(self)
        if deadline is None or not deadline.has_caused(error):
            return None
        self._logger.warning("request_timed_out", path=exchange.scope["path"], limit_seconds=self.seconds)
        return error_response(exchange.scope, GatewayTimeout())

    def on_end(self, exchange: Exchange) -> None:
        """Stop the clock."""
        if (deadline := exchange.notes.get(self)) is not None:
            deadline.stop()


class _Deadline:
    """`asyncio.timeout` for who cannot put a block around what it limits.

    In the request's own task, unlike `asyncio.wait_for`'s inner one: context variables survive.
    """

    __slots__ = ("_before", "_expired", "_handle", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("An ASGI application is run by a task of asyncio")
        self._task = task
        self._before = task.cancelling()
        self._expired = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def stop(self) -> None:
        """Let the task live."""
        self._handle.cancel()
        if self._expired:
            # Whoever swallowed the cancellation, it must not count for the task's next one.
            self._expired = False
            self._task.uncancel()

    def has_caused(self, error: BaseException) -> bool:
        """Whether the task was cancelled by this, and by nobody else meanwhile; it can then go on."""
        if not self._expired:
            return False
        self._expired = False
        return self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError)
