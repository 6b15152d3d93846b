"""Pure ASGI middlewares, each usable alone with `app.add_middleware`, and `Stack`, which checks their order."""

from hardpoint.middleware.access_log import AccessLogMiddleware
from hardpoint.middleware.body_limit import BodyLimitMiddleware
from hardpoint.middleware.client_address import ClientAddressMiddleware
from hardpoint.middleware.cors import CORSMiddleware
from hardpoint.middleware.errors import ErrorsMiddleware
from hardpoint.middleware.request_id import RequestIdMiddleware, new_request_id
from hardpoint.middleware.security_headers import SecurityHeadersMiddleware
from hardpoint.middleware.stack import Fault, Stack, StackOrderError, check_order, describe
from hardpoint.middleware.time_limit import TimeLimitMiddleware
from hardpoint.middleware.timing import TimingMiddleware
from hardpoint.middleware.tracing import TracingMiddleware

__all__ = [
    "AccessLogMiddleware",
    "BodyLimitMiddleware",
    "CORSMiddleware",
    "ClientAddressMiddleware",
    "ErrorsMiddleware",
    "Fault",
    "RequestIdMiddleware",
    "SecurityHeadersMiddleware",
    "Stack",
    "StackOrderError",
    "TimeLimitMiddleware",
    "TimingMiddleware",
    "TracingMiddleware",
    "check_order",
    "describe",
    "new_request_id",
]
