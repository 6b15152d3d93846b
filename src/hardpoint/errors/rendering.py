"""From an exception to a response: one envelope, or RFC 9457 problem details for a client that asks for them."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from hardpoint import context
from hardpoint.errors.envelope import PROBLEM_MEDIA_TYPE, ErrorEnvelope, FieldError, Problem

__all__ = ["BODY_STATE", "ErrorBody", "code_for_status", "error_response", "phrase_of", "wants_problem"]

ErrorBody = Callable[[HTTPException, Mapping[str, Any]], Any]
"""Makes what is sent as JSON of an error and its envelope."""

BODY_STATE: Final = "hardpoint_error_body"
"""Where an application's state holds its `ErrorBody`, so that its middlewares, which know its scope, answer alike."""

_CODES: Final[Mapping[int, str]] = {
    401: "INVALID_TOKEN",
    413: "PAYLOAD_TOO_LARGE",
    414: "URI_TOO_LONG",
    416: "RANGE_NOT_SATISFIABLE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
    504: "TIMEOUT",
}
# RFC 9110, section 15.5; before Python 3.13 the standard library has what they were called earlier.
_PHRASES: Final[Mapping[int, str]] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def code_for_status(status: int) -> str:
    """The code of an error that has only a status: `NOT_FOUND` for 404, `UNSUPPORTED_MEDIA_TYPE` for 415, and so on."""
    if status in _CODES:
        return _CODES[status]
    try:
        return HTTPStatus(status).name
    except ValueError:
        return "ERROR"


def phrase_of(status: int) -> str:
    """What RFC 9110, section 15 calls a status, the same with every version of Python."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def wants_problem(accept: str) -> bool:
    """Whether `accept` asks for `application/problem+json` by name, at least as much as for plain JSON.

    A wildcard does not count as asking (RFC 9110, section 12.5.1 gives the syntax).
    """
    if PROBLEM_MEDIA_TYPE not in accept.lower():
        return False
    qualities = {PROBLEM_MEDIA_TYPE: 0.0, "application/json": 0.0}
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if media_type in qualities:
            qualities[media_type] = max(qualities[media_type], _quality(parameters))
    return qualities[PROBLEM_MEDIA_TYPE] > 0 and qualities[PROBLEM_MEDIA_TYPE] >= qualities["application/json"]


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def error_response(scope: Scope, error: HTTPException, *, extra: Mapping[str, Any] | None = None) -> Response:
    """The response for `error`: the envelope, or problem details when the request's `Accept` asks for them.

    A plain Starlette or FastAPI `HTTPException` gets the code of its status; a `detail` that is not text is replaced
    by the status's phrase, because the envelope's `detail` is always a sentence. A status that may not have a body
    (RFC 9110, section 6.4.1) gets none. An application that was given a `body` by `install_error_handlers` gets that in
    place of the envelope.

    Args:
        scope: The ASGI scope of the request, for `Accept`.
        error: What happened.
        extra: Further members of the envelope, for a route whose error has facts of its own (readiness, for example).
    """
    status = error.status_code
    headers = dict(error.headers or {})
    if status in {204, 205, 304}:
        return Response(status_code=status, headers=headers)
    # FastAPI's HTTPException lets `detail` be anything, whatever Starlette's annotation says.
    given: object = error.detail
    detail = given if isinstance(given, str) and given else phrase_of(status)
    code = getattr(error, "code", None) or code_for_status(status)
    field_errors: list[FieldError] | None = None
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        field_errors = list(getattr(error, "field_errors", ()))
    as_problem = wants_problem(", ".join(Headers(scope=scope).getlist("accept")))
    body: ErrorEnvelope | Problem
    request_id = context.request_id.get()
    if as_problem:
        body = Problem(
            title=phrase_of(status),
            status=status,
            detail=detail,
            code=code,
            request_id=request_id,
            field_errors=field_errors,
        )
    else:
        body = ErrorEnvelope(detail=detail, code=code, request_id=request_id, field_errors=field_errors)
    facts = body.model_dump(mode="json", exclude=None if field_errors is not None else {"field_errors"})
    # An extra member never hides one that the standard gives a meaning.
    facts = {**(extra or {}), **facts}
    own_body: ErrorBody | None = None if as_problem or "app" not in scope else _own_body(scope["app"])
    content = to_json(facts if own_body is None else own_body(error, facts))
    # Caches must not keep what one client did wrong for another.
    headers.setdefault("Cache-Control", "no-store")
    return Response(
        content,
        status_code=status,
        headers=headers,
        media_type=PROBLEM_MEDIA_TYPE if as_problem else "application/json",
    )


def _own_body(app: object) -> ErrorBody | None:
    found: ErrorBody | None = getattr(getattr(app, "state", None), BODY_STATE, None)
    return found
