"""Cross-origin requests (the Fetch standard's CORS protocol), on every response and refused clearly."""

from collections.abc import Collection, Sequence
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.errors import Forbidden, error_response
from hardpoint.origins import origins
from hardpoint.texts import texts, token

__all__ = ["CORSMiddleware"]

_MAX_AGE_SECONDS: Final = 86_400
_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_HEADERS: Final = (
    "Accept",
    "Accept-Language",
    "Authorization",
    "Content-Language",
    "Content-Type",
    "X-API-Key",
    "X-Request-ID",
)
_EXPOSED: Final = (
    "Deprecation",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "Sunset",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)


class CORSMiddleware(Part):
    """Answer preflights, and let the pages of `allow_origins` read every response, errors included.

    Stands outside of everything that can answer with an error, so that a page can read a 401, a 413, a 429 and a 500.
    Origins are compared whole, as browsers send them. `null` is never allowed (a sandboxed frame of any site has it),
    and neither is `*` together with credentials, which the Fetch standard forbids and which mirroring the origin would
    only disguise.

    `["*"]` for methods or request headers allows an allowed origin whatever it asks for; the preflight's answer then
    names what was asked, because browsers take `*` literally when credentials may be sent.

    Args:
        app: The application inside.
        allow_origins: Origins, `https://app.example.com`; or `["*"]` without credentials.
        allow_credentials: Whether cookies and HTTP authentication may be sent along.
        allow_methods: Methods that pages may use; or `["*"]`.
        allow_headers: Request headers that pages may set; or `["*"]`.
        expose_headers: Response headers that pages may read; or, without credentials, `["*"]`.
        max_age_seconds: How long a browser may remember a preflight's answer; 0 to 86400.

    Raises:
        ValueError: What is no origin, such as an address with a path or `null`; what is no method's or header's name;
            or origins or exposed headers `*` with credentials.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        allow_origins: Collection[str] = (),
        allow_credentials: bool = False,
        allow_methods: Sequence[str] = _METHODS,
        allow_headers: Sequence[str] = _HEADERS,
        expose_headers: Sequence[str] = _EXPOSED,
        max_age_seconds: int = 600,
    ) -> None:
        named = texts("allow_origins", allow_origins) - {"*"}
        listed = {"allow_methods": allow_methods, "allow_headers": allow_headers, "expose_headers": expose_headers}
        for option, names in listed.items():
            for name in texts(option, names):
                token(option, name)
        if allow_credentials and "*" in allow_origins:
            raise ValueError("CORS: '*' cannot be combined with credentials; name the origins")
        if not 0 <= max_age_seconds <= _MAX_AGE_SECONDS:
            raise ValueError("max_age_seconds must be between 0 and 86400")
        if allow_credentials and "*" in expose_headers:
            raise ValueError("CORS: with credentials browsers take an exposed '*' literally; name the headers")
        super().__init__(app)
        self._any_origin = "*" in allow_origins
        self._origins = origins("CORS", named)
        self._any_method = "*" in allow_methods
        self._any_header = "*" in allow_headers
        self._methods = frozenset(allow_methods)
        self._headers = frozenset(name.lower() for name in allow_headers)
        credentials: list[tuple[str, str]] = []
        if allow_credentials:
            credentials.append(("Access-Control-Allow-Credentials", "true"))
        self._preflight = [*credentials, ("Access-Control-Max-Age", str(max_age_seconds))]
        if not self._any_method:
            self._preflight.append(("Access-Control-Allow-Methods", ", ".join(allow_methods)))
        if not self._any_header:
            self._preflight.append(("Access-Control-Allow-Headers", ", ".join(allow_headers)))
        exposed = [("Access-Control-Expose-Headers", ", ".join(expose_headers))] if expose_headers else []
        self._own = [(name.lower().encode(), value.encode("latin-1")) for name, value in [*credentials, *exposed]]

    # WebSockets are outside of CORS: whoever accepts one checks the Origin itself.
    def on_request(self, exchange: Exchange) -> ASGIApp | None:
        """Answer a preflight."""
        if exchange.scope["method"] == "OPTIONS":
            origin = exchange.headers.get(b"origin")
            method = exchange.headers.get(b"access-control-request-method")
            if origin is not None and method is not None:
                return self._answer_preflight(exchange, origin.decode("latin-1"), method.decode("latin-1"))
        return None

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Let the page of an allowed origin read the answer."""
        if not self._any_origin:
            # Also without an Origin: a shared cache must not give that answer to a page (Fetch, 3.3.5).
            _vary_by_origin(message)
        sent = exchange.headers.get(b"origin")
        if sent is not None and self._allows(sent.decode("latin-1")):
            own = [(b"access-control-allow-origin", b"*" if self._any_origin else sent), *self._own]
            names = {name for name, _ in own}
            message["headers"][:] = [pair for pair in message["headers"] if pair[0] not in names] + own

    def _allows(self, origin: str) -> bool:
        return self._any_origin or (origin != "null" and origin.lower() in self._origins)

    def _answer_preflight(self, exchange: Exchange, origin: str, method: str) -> Response:
        refusal = self._refusal(exchange, origin, method)
        if refusal is not None:
            response = error_response(exchange.scope, Forbidden(refusal))
        else:
            response = Response(status_code=204)
            for name, value in self._preflight:
                response.headers[name] = value
            if self._any_method:
                response.headers["Access-Control-Allow-Methods"] = method
            if self._any_header and (requested := _requested_headers(exchange)):
                response.headers["Access-Control-Allow-Headers"] = requested
        if self._allows(origin):
            # Even a refused preflight names the origin, so that the page's developer sees which part was refused.
            response.headers["Access-Control-Allow-Origin"] = "*" if self._any_origin else origin
        response.headers["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        return response

    def _refusal(self, exchange: Exchange, origin: str, method: str) -> str | None:
        if not self._allows(origin):
            return "This origin is not allowed"
        if not self._any_method and method not in self._methods:
            return "This method is not allowed across origins"
        names = (name.strip().lower() for name in _requested_headers(exchange).split(","))
        if not self._any_header and any(name and name not in self._headers for name in names):
            return "A request header is not allowed across origins"
        return None


def _requested_headers(exchange: Exchange) -> str:
    return exchange.headers.get(b"access-control-request-headers", b"").decode("latin-1")


def _vary_by_origin(message: Message) -> None:
    headers = message["headers"]
    if b"vary" not in dict(headers):
        headers.append((b"vary", b"Origin"))
        return
    for place, (name, value) in enumerate(headers):
        if name == b"vary":
            if {b"origin", b"*"}.isdisjoint(varying.strip() for varying in value.lower().split(b",")):
                headers[place] = (name, value + b", Origin" if value else b"Origin")
            return
