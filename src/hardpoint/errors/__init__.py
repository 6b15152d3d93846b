"""One envelope for every error from every layer: exceptions to raise, handlers that render them, their OpenAPI."""

from hardpoint.errors.envelope import PROBLEM_MEDIA_TYPE, ErrorEnvelope, FieldError, Problem
from hardpoint.errors.exceptions import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    GatewayTimeout,
    InternalError,
    InvalidApiKey,
    InvalidCredentials,
    InvalidToken,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceUnavailable,
    TokenReused,
    Unauthorized,
    UnsupportedMediaType,
    ValidationFailed,
)
from hardpoint.errors.handlers import install_error_handlers, raised_detail
from hardpoint.errors.rendering import ErrorBody, error_response
from hardpoint.errors.responses import responses

__all__ = [
    "PROBLEM_MEDIA_TYPE",
    "ApiError",
    "BadRequest",
    "Conflict",
    "ErrorBody",
    "ErrorEnvelope",
    "FieldError",
    "Forbidden",
    "GatewayTimeout",
    "InternalError",
    "InvalidApiKey",
    "InvalidCredentials",
    "InvalidToken",
    "MethodNotAllowed",
    "NotFound",
    "PayloadTooLarge",
    "Problem",
    "RateLimited",
    "ServiceUnavailable",
    "TokenReused",
    "Unauthorized",
    "UnsupportedMediaType",
    "ValidationFailed",
    "error_response",
    "install_error_handlers",
    "raised_detail",
    "responses",
]
