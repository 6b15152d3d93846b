"""Exception handlers that give every error of a FastAPI or Starlette application the envelope."""

from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from hardpoint.errors.exceptions import ApiError, ValidationFailed
from hardpoint.errors.rendering import BODY_STATE, ErrorBody, code_for_status, error_response
from hardpoint.errors.validation import field_errors_from, without_inputs

__all__ = ["install_error_handlers", "raised_detail"]

_POLICY_VIOLATION: Final = 1008
_INTERNAL_ERROR: Final = 1011


async def _http_exception(request: Request, error: Exception) -> Response | None:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows the type that Starlette's signature widens.
    websocket: Any = request
    if isinstance(websocket, WebSocket) and websocket.application_state is not WebSocketState.CONNECTING:
        await _close(websocket, error)
        return None
    is_the_routers = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and not isinstance(error, ApiError)
    if is_the_routers and (methods := _methods_of_path(request)):
        error = HTTPException(error.status_code, error.detail, {**(error.headers or {}), "Allow": ", ".join(methods)})
    return error_response(request.scope, error)


async def _close(websocket: WebSocket, error: HTTPException) -> None:
    # An answer belongs to the handshake; after it servers take one for a crash, and no close frame is sent.
    if websocket.application_state is WebSocketState.CONNECTED and websocket.client_state is WebSocketState.CONNECTED:
        is_ours = error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
        reason = getattr(error, "code", None) or code_for_status(error.status_code)
        await websocket.close(_INTERNAL_ERROR if is_ours else _POLICY_VIOLATION, reason)


def _methods_of_path(request: Request) -> list[str]:
    # Starlette names those of the first route with this path; they are all to be named (RFC 9110, section 15.5.6).
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found: set[str] = set()
    is_of_app = False
    for route in iter_route_contexts(request.app.routes):
        shown: Any = route
        pattern = getattr(shown, "path_regex", None)
        if pattern is not None and pattern.match(path):
            found.update(shown.methods or ())
            is_of_app = is_of_app or shown.endpoint is request.scope.get("endpoint")
    # Below a mount without handlers of its own the path is the mount's, and the application's routes mean another.
    return sorted(found) if is_of_app else []


async def _request_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - see above.
    failed = ValidationFailed(*field_errors_from(error.errors()))
    failed.__cause__ = error
    return error_response(request.scope, failed)


async def _websocket_validation(websocket: WebSocket, error: Exception) -> None:
    assert isinstance(error, WebSocketRequestValidationError)  # noqa: S101 - see above.
    # FastAPI's own handler sends the inputs back as the close reason.
    await websocket.close(code=_POLICY_VIOLATION, reason="Validation error")


def raised_detail(error: HTTPException) -> Any:
    """The `detail` that FastAPI itself would have sent, for an `ErrorBody`.

    Whatever was raised, text or not. Of a request that does not validate the list of what is wrong, each with `type`,
    `loc` and `msg`; FastAPI's `input` is left out, because it repeats what the client sent, passwords included.
    """
    if isinstance(error.__cause__, RequestValidationError):
        return without_inputs(error.__cause__.errors())
    return error.detail


def install_error_handlers(app: Starlette, *, body: ErrorBody | None = None) -> None:
    """Give `app`'s errors the envelope: HTTP exceptions of routing, dependencies and handlers, and validation errors.

    Crashes are not handled here. Starlette runs a handler for `Exception` outside of all middleware, so its 500 would
    lack CORS and security headers; `hardpoint.middleware.ErrorsMiddleware` answers them from inside.

    On a WebSocket the envelope answers the handshake; once that is accepted, the socket is closed with 1008, or 1011
    for a 5xx, and the error's code as the reason.

    A handler that the application has already for one of these is replaced; one that it adds later replaces ours.
    A mounted sub-application has handlers of its own: install them there as well.

    Args:
        app: The application.
        body: What is sent in place of the envelope, for clients that rely on another shape: takes the error and its
            envelope, and gives anything that JSON can hold. `hardpoint.middleware`'s own answers get it too. A client
            that asks for problem details gets those.
    """
    setattr(app.state, BODY_STATE, body)
    handle: Any = _http_exception  # Starlette's types have no handler for both, requests and sockets, as there is.
    app.add_exception_handler(HTTPException, handle)
    app.add_exception_handler(RequestValidationError, _request_validation)
    app.add_exception_handler(WebSocketRequestValidationError, _websocket_validation)
