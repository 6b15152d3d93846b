"""The order of the middlewares: a list, outermost first, checked when it is declared.

Starlette's `add_middleware` makes the last one added the outermost, so an order is easily written the wrong way round,
and nothing says so: the CORS headers are simply missing on a 500, in production, for browsers. A `Stack` is written
in the order in which a request passes, and refuses an order that breaks a rule below, with the reason.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from hardpoint.log.safe import REDACTED, is_sensitive

__all__ = ["Fault", "Stack", "StackOrderError", "check_order", "describe"]

# By name, so that a part of another package is known here without being imported.
_ROLES: Final = {
    "hardpoint.middleware.client_address.ClientAddressMiddleware": "client address",
    "uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware": "client address",
    "hardpoint.middleware.request_id.RequestIdMiddleware": "request id",
    "asgi_correlation_id.middleware.CorrelationIdMiddleware": "request id",
    "hardpoint.middleware.tracing.TracingMiddleware": "tracing",
    "hardpoint.middleware.timing.TimingMiddleware": "timing",
    "hardpoint.metrics.middleware.MetricsMiddleware": "metrics",
    "hardpoint.middleware.access_log.AccessLogMiddleware": "access log",
    "hardpoint.lifespan.drain.DrainMiddleware": "drain",
    "hardpoint.middleware.security_headers.SecurityHeadersMiddleware": "security headers",
    "hardpoint.middleware.cors.CORSMiddleware": "CORS",
    "starlette.middleware.cors.CORSMiddleware": "CORS",
    "hardpoint.middleware.errors.ErrorsMiddleware": "errors",
    "hardpoint.middleware.time_limit.TimeLimitMiddleware": "time limit",
    "hardpoint.ratelimit.middleware.RateLimitMiddleware": "rate limit",
    "hardpoint.middleware.body_limit.BodyLimitMiddleware": "body limit",
    "starlette.middleware.body_limit.RequestBodyLimitMiddleware": "body limit",
    "hardpoint.routing.middleware.CompiledRoutesMiddleware": "compiled routes",
}

_INNERMOST: Final = "compiled routes"

_PASSWORD_IN_URL: Final = re.compile(r"(?<=:)[^:/@\s]+(?=@)")

# (outer, inner, why): whenever both are there, the first must stand outside of the second.
_RULES: Final = (
    ("client address", "access log", "the log must name the client, not the proxy"),
    ("client address", "rate limit", "the limit must count the client, not the proxy"),
    ("client address", "security headers", "HSTS depends on the scheme that the proxy reports"),
    ("request id", "access log", "the log line carries the request's id"),
    ("request id", "errors", "a 500 carries the request's id"),
    ("request id", "CORS", "an answered preflight carries the request's id"),
    ("request id", "rate limit", "a 429 carries the request's id"),
    ("request id", "tracing", "the span carries the request's id"),
    ("timing", "errors", "a 500 carries its timing"),
    ("metrics", "CORS", "an answered preflight must be counted"),
    ("metrics", "errors", "a crash must be counted with the status that the client got"),
    ("metrics", "time limit", "a request that took too long must be counted"),
    ("metrics", "rate limit", "a refused request must be counted"),
    ("metrics", "body limit", "a refused body must be counted"),
    ("access log", "CORS", "an answered preflight must be logged"),
    ("access log", "errors", "a crash must be logged with the status that the client got"),
    ("access log", "rate limit", "a refused request must be logged"),
    ("access log", "body limit", "a refused body must be logged"),
    ("security headers", "CORS", "an answered preflight carries the security headers"),
    ("security headers", "errors", "a 500 carries the security headers"),
    ("security headers", "rate limit", "a 429 carries the security headers"),
    ("security headers", "body limit", "a 413 carries the security headers"),
    ("CORS", "errors", "a page must be able to read a 500"),
    ("CORS", "time limit", "a page must be able to read a 504"),
    ("CORS", "rate limit", "a page must be able to read a 429, and preflights are not charged"),
    ("CORS", "body limit", "a page must be able to read a 413"),
    ("errors", "time limit", "what breaks inside must become a response inside CORS"),
    ("errors", "rate limit", "what breaks inside must become a response inside CORS"),
    ("errors", "body limit", "what breaks inside must become a response inside CORS"),
    ("rate limit", "body limit", "a client over its limit is refused before its body is read"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an order.

    Attributes:
        subject: The middleware that stands wrongly.
        other: The one that it stands wrongly to; the same name twice for a repetition.
        reason: Why the order matters.
        fatal: False for what works and is only unwise, which a `Stack` accepts and `hardpoint stack` reports.
    """

    subject: str
    other: str
    reason: str
    fatal: bool = True

    def __str__(self) -> str:
        if self.subject == self.other:
            return f"{self.subject}: {self.reason}"
        return f"{self.subject} must stand outside of {self.other}: {self.reason}"


class StackOrderError(ValueError):
    """A stack was declared in an order that cannot work; `faults` has every reason."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def check_order(middlewares: Iterable[Middleware]) -> list[Fault]:
    """What is wrong with `middlewares`, outermost first: broken rules, repetitions, any `BaseHTTPMiddleware`.

    A middleware that is not known here may stand anywhere.
    """
    faults: list[Fault] = []
    places: dict[str, tuple[int, str]] = {}
    last = (-1, "")
    for place, middleware in enumerate(middlewares):
        cls: Any = middleware.cls
        name = getattr(cls, "__name__", repr(cls))
        last = (place, name)
        role = _ROLES.get(f"{getattr(cls, '__module__', '')}.{name}")
        if isinstance(cls, type) and issubclass(cls, BaseHTTPMiddleware):
            reason = "it is a BaseHTTPMiddleware, which loses context variables and costs a task and a stream each"
            faults.append(Fault(name, name, reason, fatal=False))
        if role is None:
            continue
        if role in places:
            faults.append(Fault(name, name, f"the stack already has a part for {role}, {places[role][1]}"))
        else:
            places[role] = (place, name)
    for outer, inner, reason in _RULES:
        if outer in places and inner in places and places[outer][0] > places[inner][0]:
            faults.append(Fault(places[outer][1], places[inner][1], reason))
    if places.get(_INNERMOST, last) != last:
        faults.append(Fault(last[1], places[_INNERMOST][1], "what goes straight to the routes would pass it by"))
    return faults


class Stack(Sequence[Middleware]):
    """A checked list of middlewares, outermost first: `FastAPI(middleware=Stack(...))`.

    It is a sequence of Starlette's `Middleware`, so it goes wherever one of those goes, and prints as a list.

    Args:
        *middlewares: Outermost first; third parties' among them as they please.

    Raises:
        StackOrderError: The order breaks a rule, or a part is there twice.
        TypeError: One of them is not in a `Middleware`.
    """

    def __init__(self, *middlewares: Middleware) -> None:
        one: Any
        for one in middlewares:
            if not isinstance(one, Middleware):
                name = getattr(one, "__name__", repr(one))
                raise TypeError(f"{name} is no Middleware; write Stack(Middleware(SomeMiddleware, option=...), ...)")
        faults = [fault for fault in check_order(middlewares) if fault.fatal]
        if faults:
            raise StackOrderError(faults)
        self._middlewares = middlewares

    @overload
    def __getitem__(self, index: int) -> Middleware: ...

    @overload
    def __getitem__(self, index: slice) -> "Stack": ...

    def __getitem__(self, index: int | slice) -> "Middleware | Stack":
        if isinstance(index, slice):
            return Stack(*self._middlewares[index])
        return self._middlewares[index]

    def __iter__(self) -> Iterator[Middleware]:
        return iter(self._middlewares)

    def __len__(self) -> int:
        return len(self._middlewares)

    def __str__(self) -> str:
        return "\n".join(f"{place:>2}  {describe(middleware)}" for place, middleware in enumerate(self, start=1))

    def __repr__(self) -> str:
        return f"Stack({', '.join(describe(middleware) for middleware in self)})"

    def install(self, app: Starlette) -> None:
        """Put the stack around an application that exists, outside of the middlewares that it already has.

        Raises:
            StackOrderError: The order breaks a rule together with those.
            RuntimeError: The application has already begun to serve.
        """
        if app.middleware_stack is not None:
            raise RuntimeError("The application has begun to serve; install the stack before its first request")
        Stack(*self, *app.user_middleware)
        app.user_middleware[:0] = list(self)


def describe(middleware: Middleware) -> str:
    """A middleware in one line, with its options, as `Stack` and `hardpoint stack` print it.

    Secrets among them are left out, by an option's name or as a password in a URL: pipelines keep what they print.
    """
    name = getattr(middleware.cls, "__name__", repr(middleware.cls))
    options = ", ".join(
        f"{key}={REDACTED if is_sensitive(key) else _PASSWORD_IN_URL.sub(REDACTED, repr(value))}"
        for key, value in middleware.kwargs.items()
    )
    return f"{name}({options})"
