"""A bound on how long a client waits for the first byte."""

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.errors import GatewayTimeout, error_response
from hardpoint.log import EventLogger, get_logger

__all__ = ["TimeLimitMiddleware"]


class TimeLimitMiddleware:
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
        self.app = app
        self.seconds = seconds
        self._exempt_paths = frozenset(exempt_paths)
        self._logger = logger if logger is not None else get_logger("hardpoint.time_limit")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt_paths:
            await self.app(scope, receive, send)
            return
        deadline = asyncio.timeout(self.seconds)

        async def send_in_time(message: Message) -> None:
            if not deadline.expired():
                deadline.reschedule(None)
            await send(message)

        try:
            # In the request's own task, unlike asyncio.wait_for's inner one: context variables survive.
            async with deadline:
                await self.app(scope, receive, send_in_time)
        except TimeoutError:
            if not deadline.expired():
                raise
            self._logger.warning("request_timed_out", path=scope["path"], limit_seconds=self.seconds)
            await error_response(scope, GatewayTimeout())(scope, receive, send)
