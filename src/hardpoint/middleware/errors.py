"""The end of the line for exceptions: an answer that still passes CORS, the security headers and the request id."""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.errors import InternalError, error_response
from hardpoint.log import EventLogger, get_logger

__all__ = ["ErrorsMiddleware"]

_INTERNAL_ERROR = 1011


class ErrorsMiddleware:
    """Turn what nobody handled into a response with the error envelope.

    Starlette runs a handler for `Exception` outside of all middleware, so that a browser cannot even read its 500. This
    stands inside instead. An `HTTPException` from a middleware keeps its status; everything else is logged as
    `unhandled_exception` and answered with a 500 that tells the request id and nothing more.

    When the response has already begun it cannot be changed: the exception is logged and raised on, so that the server
    cuts the connection and the client sees that the answer is incomplete. A client that left is not an error.

    Args:
        app: The application inside.
        logger: Where to log; `hardpoint.errors` by default.
        reraise: Whether to raise on after answering, for a test client or an error tracker outside.
    """

    def __init__(self, app: ASGIApp, *, logger: EventLogger | None = None, reraise: bool = False) -> None:
        self.app = app
        self._logger = logger if logger is not None else get_logger("hardpoint.errors")
        self._reraise = reraise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except ClientDisconnect:
            self._logger.info("client_disconnected", path=scope["path"])
        except Exception as error:
            expected = isinstance(error, HTTPException)
            if not expected or started:
                self._logger.exception("unhandled_exception", method=scope.get("method", "GET"), path=scope["path"])
            if started:
                await self._abandon(scope, send, error)
                return
            answer = error if isinstance(error, HTTPException) else InternalError()
            # A WebSocket that is not yet accepted is refused with the same HTTP response: Starlette's Response speaks
            # the extension for it, and servers without it close the handshake.
            if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
                await error_response(scope, answer)(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
            if self._reraise and not expected:
                raise

    async def _abandon(self, scope: Scope, send: Send, error: Exception) -> None:
        if scope["type"] == "http":
            raise error
        try:
            await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
        except Exception:  # noqa: BLE001 - it may be closed already, which servers report in ways of their own.
            self._logger.debug("websocket_already_closed", path=scope["path"])
        if self._reraise:
            raise error
