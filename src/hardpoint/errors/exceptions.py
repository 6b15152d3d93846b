"""The exceptions that services and parts raise; each knows its status, its code and its headers.

They are Starlette `HTTPException`s, so even an application without hardpoint's handlers answers with the right status.
Raise them anywhere: in a route, a dependency, a service, a middleware.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from starlette.exceptions import HTTPException

from hardpoint.errors.envelope import FieldError

__all__ = [
    "ApiError",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "GatewayTimeout",
    "InternalError",
    "InvalidApiKey",
    "InvalidCredentials",
    "InvalidToken",
    "MethodNotAllowed",
    "NotFound",
    "PayloadTooLarge",
    "RateLimited",
    "ServiceUnavailable",
    "TokenReused",
    "Unauthorized",
    "UnsupportedMediaType",
    "ValidationFailed",
]


class ApiError(HTTPException):
    """An answer that is an error; the base of all others, and what to subclass for one's own.

    Args:
        detail: One sentence for a human. It reaches the client: never put a secret or the client's input into it.
        code: What a program checks, in UPPER_SNAKE_CASE; the class's own by default.
        headers: Further response headers.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "INTERNAL_ERROR"
    default_detail: ClassVar[str] = "Internal server error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self.status, detail if detail is not None else self.default_detail, headers)
        self.code = code if code is not None else self.default_code


class BadRequest(ApiError):
    """The request cannot be understood (RFC 9110, section 15.5.1)."""

    status = HTTPStatus.BAD_REQUEST
    default_code = "BAD_REQUEST"
    default_detail = "Bad request"


class Unauthorized(ApiError):
    """Who asks is not known (RFC 9110, section 15.5.2). Always carries `WWW-Authenticate`.

    Args:
        detail: One sentence for a human.
        code: What a program checks.
        challenge: The value of `WWW-Authenticate` (RFC 9110, section 11.6.1); the class's own by default.
        headers: Further response headers.
    """

    status = HTTPStatus.UNAUTHORIZED
    default_code = "INVALID_TOKEN"
    default_detail = "Not authenticated"
    # A scheme without a parameter is no challenge (RFC 6750, section 3).
    default_challenge: ClassVar[str] = 'Bearer realm="api"'

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        challenge: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        challenge = self.default_challenge if challenge is None else challenge
        super().__init__(detail, code=code, headers={"WWW-Authenticate": challenge, **(headers or {})})


class InvalidToken(Unauthorized):
    """A bearer token was sent and does not hold (RFC 6750, section 3.1)."""

    default_detail = "The access token is invalid, expired or revoked"
    default_challenge = 'Bearer realm="api", error="invalid_token"'


class InvalidCredentials(Unauthorized):
    """A login failed. Says the same for every reason, so that it cannot be used to find accounts."""

    default_code = "INVALID_CREDENTIALS"
    default_detail = "Wrong e-mail address or password"


class TokenReused(Unauthorized):
    """A refresh token came back after it had been exchanged; its whole session is over (RFC 9700, section 4.14.2)."""

    default_code = "TOKEN_REUSED"
    default_detail = "This refresh token has been used before; the session is over"
    default_challenge = 'Bearer realm="api", error="invalid_token"'


class InvalidApiKey(Unauthorized):
    """An API key was needed and none that holds was sent."""

    default_code = "INVALID_API_KEY"
    default_detail = "A valid API key is required"
    default_challenge = 'ApiKey realm="api"'


class Forbidden(ApiError):
    """Who asks is known and may not (RFC 9110, section 15.5.4)."""

    status = HTTPStatus.FORBIDDEN
    default_code = "FORBIDDEN"
    default_detail = "Not allowed"


class NotFound(ApiError):
    """There is no such thing, or none that this client may know of (RFC 9110, section 15.5.5)."""

    status = HTTPStatus.NOT_FOUND
    default_code = "NOT_FOUND"
    default_detail = "Not found"


class MethodNotAllowed(ApiError):
    """The resource exists, the method does not apply; `Allow` says which do (RFC 9110, section 15.5.6).

    Args:
        allow: The methods that would be accepted.
        detail: One sentence for a human.
    """

    status = HTTPStatus.METHOD_NOT_ALLOWED
    default_code = "METHOD_NOT_ALLOWED"
    default_detail = "Method not allowed"

    def __init__(self, allow: Sequence[str], detail: str | None = None) -> None:
        super().__init__(detail, headers={"Allow": ", ".join(allow)})


class Conflict(ApiError):
    """The state of the resource does not permit it (RFC 9110, section 15.5.10); `code` says what stands in the way."""

    status = HTTPStatus.CONFLICT
    default_code = "CONFLICT"
    default_detail = "Conflict with the current state"


class PayloadTooLarge(ApiError):
    """The body is larger than the service takes (RFC 9110, section 15.5.14)."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "PAYLOAD_TOO_LARGE"
    default_detail = "The request body is too large"


class UnsupportedMediaType(ApiError):
    """The body's media type or character encoding is not one that the route takes (RFC 9110, section 15.5.16)."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_code = "UNSUPPORTED_MEDIA_TYPE"
    default_detail = "Unsupported media type"


class ValidationFailed(ApiError):
    """The request was understood and its values do not hold (RFC 9110, section 15.5.21).

    Args:
        *fields: What is wrong with which field; at least one.
        detail: One sentence for a human.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    default_code = "VALIDATION_ERROR"
    default_detail = "Validation error"

    def __init__(self, *fields: FieldError, detail: str | None = None) -> None:
        super().__init__(detail)
        self.field_errors = fields


class _RetryLater(ApiError):
    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if retry_after_seconds is not None:
            headers = {"Retry-After": str(max(1, retry_after_seconds)), **(headers or {})}
        super().__init__(detail, code=code, headers=headers)


class RateLimited(_RetryLater):
    """Too many requests (RFC 6585, section 4).

    Args:
        detail: One sentence for a human.
        code: What a program checks.
        retry_after_seconds: When to come back, in whole seconds, sent as `Retry-After`; below 1 counts as 1.
        headers: Further response headers.
    """

    status = HTTPStatus.TOO_MANY_REQUESTS
    default_code = "RATE_LIMITED"
    default_detail = "Too many requests"


class ServiceUnavailable(_RetryLater):
    """The service cannot answer now and will again (RFC 9110, section 15.6.4).

    Args:
        detail: One sentence for a human.
        code: What a program checks.
        retry_after_seconds: When to come back, in whole seconds, sent as `Retry-After`; below 1 counts as 1.
        headers: Further response headers.
    """

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "SERVICE_UNAVAILABLE"
    default_detail = "The service is not available at the moment"


class GatewayTimeout(ApiError):
    """The service gave up waiting for its own answer (RFC 9110, section 15.6.5)."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    default_code = "TIMEOUT"
    default_detail = "The request took too long"


class InternalError(ApiError):
    """Something broke. The client learns the request id and nothing else; the log has the rest."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
