"""Exception handlers that give every error of a FastAPI or Starlette application the envelope."""

from typing import Final

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from hardpoint.errors.exceptions import ValidationFailed
from hardpoint.errors.rendering import error_response
from hardpoint.errors.validation import field_errors_from

__all__ = ["install_error_handlers"]

_POLICY_VIOLATION: Final = 1008


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type that Starlette's signature widens.
    return error_response(request.scope, error)


async def _request_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - see above.
    return error_response(request.scope, ValidationFailed(*field_errors_from(error.errors())))


async def _websocket_validation(websocket: WebSocket, error: Exception) -> None:
    assert isinstance(error, WebSocketRequestValidationError)  # noqa: S101 - see above.
    # FastAPI's own handler sends the inputs back as the close reason.
    await websocket.close(code=_POLICY_VIOLATION, reason="Validation error")


def install_error_handlers(app: Starlette) -> None:
    """Give `app`'s errors the envelope: HTTP exceptions of routing, dependencies and handlers, and validation errors.

    Crashes are not handled here. Starlette runs a handler for `Exception` outside of all middleware, so its 500 would
    lack CORS and security headers; `hardpoint.middleware.ErrorsMiddleware` answers them from inside.

    A mounted sub-application has handlers of its own: install them there as well.
    """
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _request_validation)
    app.add_exception_handler(WebSocketRequestValidationError, _websocket_validation)
