"""The end of the line for exceptions: an answer that still passes CORS, the security headers and the request id."""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from hardpoint.asgi import Exchange, Part
from hardpoint.errors import InternalError, error_response
from hardpoint.log import EventLogger, get_logger

__all__ = ["ErrorsMiddleware"]

_INTERNAL_ERROR = 1011


class ErrorsMiddleware(Part):
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

    kinds = frozenset({"http", "websocket"})

    def __init__(self, app: ASGIApp, *, logger: EventLogger | None = None, reraise: bool = False) -> None:
        super().__init__(app)
        self._logger = logger if logger is not None else get_logger("hardpoint.errors")
        self._reraise = reraise

    def on_error(self, exchange: Exchange, error: BaseException) -> ASGIApp | None:
        """Answer what nobody handled."""
        scope = exchange.scope
        if isinstance(error, ClientDisconnect):
            self._logger.info("client_disconnected", path=scope["path"])
            return _nothing
        if not isinstance(error, Exception):
            return None
        is_expected = isinstance(error, HTTPException)
        if not is_expected or exchange.started:
            self._logger.error(
                "unhandled_exception", exc_info=error, method=scope.get("method", "GET"), path=scope["path"]
            )
        if exchange.started:
            return None if scope["type"] == "http" else self._then_raise(self._close, error)
        answer: ASGIApp = _close
        # A WebSocket that is not yet accepted is refused with the same HTTP response: Starlette's Response speaks the
        # extension for it, and servers without it close the handshake.
        if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            answer = error_response(scope, error if isinstance(error, HTTPException) else InternalError())
        return answer if is_expected else self._then_raise(answer, error)

    def _then_raise(self, answer: ASGIApp, error: Exception) -> ASGIApp:
        if not self._reraise:
            return answer

        async def answer_and_raise(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(scope, receive, send)
            raise error

        return answer_and_raise

    async def _close(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _close(scope, receive, send)
        except Exception:  # noqa: BLE001 - it may be closed already, which servers report in ways of their own.
            self._logger.debug("websocket_already_closed", path=scope["path"])


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Nobody is there to be answered."""


async def _close(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - an ASGI application.
    await send({"type": "websocket.close", "code": _INTERNAL_ERROR})
