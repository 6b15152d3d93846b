"""Who and what the current request is, readable from anywhere below the middleware.

Context variables, because a log line, a job or an outgoing HTTP call that a request causes must carry its id without
every function in between passing it on. Pure ASGI middleware runs in the request's own task, so what it sets here is
seen by routes, dependencies, thread-pool functions and tasks started from them.
"""

from contextvars import ContextVar
from typing import Final

__all__ = ["REQUEST_ID_HEADER", "principal", "request_id"]

REQUEST_ID_HEADER: Final = "X-Request-ID"

request_id: ContextVar[str | None] = ContextVar("hardpoint_request_id", default=None)
"""The id of the request being handled, or `None` outside of one."""

principal: ContextVar[str | None] = ContextVar("hardpoint_principal", default=None)
"""Who acts: `user:7`, `key:3`, or `None` for an anonymous request. Set by whatever authenticates."""
