"""The response headers that tell a browser to trust as little as possible."""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.texts import field_value, token

__all__ = ["SecurityHeadersMiddleware"]

_DEFAULTS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # Right for an API, which renders nothing; a page that does sets a policy of its own, which is kept.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_YEAR_SECONDS: Final = 31_536_000
_CREDENTIALS: Final = frozenset({b"authorization", b"cookie", b"x-api-key"})
_NO_STORE: Final = (b"cache-control", b"no-store")


class SecurityHeadersMiddleware(Part):
    """Add the security headers that a response does not already have.

    `Strict-Transport-Security` (RFC 6797) is sent over https alone, as its section 7.2 demands.
    `Cache-Control: no-store` (RFC 9111, section 5.2.2.5) goes on answers to requests that carry credentials
    and on those that set a cookie.

    Args:
        app: The application inside.
        overrides: Headers to add or to change; an empty value leaves one out.
        hsts_max_age_seconds: How long browsers insist on https; 0 sends no header. At least a year is usual.
        hsts_include_subdomains: Whether that holds for subdomains too.

    Raises:
        ValueError: An override is no header, or the age is negative.
    """

    kinds = frozenset({"http", "websocket"})

    def __init__(
        self,
        app: ASGIApp,
        *,
        overrides: Mapping[str, str] | None = None,
        hsts_max_age_seconds: int = _YEAR_SECONDS,
        hsts_include_subdomains: bool = True,
    ) -> None:
        if hsts_max_age_seconds < 0:
            raise ValueError("hsts_max_age_seconds must not be negative")
        super().__init__(app)
        merged = {name.lower(): value for name, value in {**_DEFAULTS, **(overrides or {})}.items()}
        for name, value in (overrides or {}).items():
            merged[name.lower()] = value
        self._plain = [
            (token("A header in overrides", n), field_value(f"The header {n}", v)) for n, v in merged.items() if v
        ]
        hsts = f"max-age={hsts_max_age_seconds}" + ("; includeSubDomains" if hsts_include_subdomains else "")
        self._secure = [*self._plain]
        if hsts_max_age_seconds:
            self._secure.append((b"strict-transport-security", hsts.encode("latin-1")))
        self._names = frozenset(name for name, _ in self._secure)

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Add what is missing, by how the request came and with which credentials."""
        if message["type"] == "websocket.accept":
            return
        headers = message["headers"]
        extra = self._secure if exchange.scope.get("scheme") in {"https", "wss"} else self._plain
        present = dict(headers)
        headers += extra if self._names.isdisjoint(present) else [pair for pair in extra if pair[0] not in present]
        is_personal = b"set-cookie" in present or not _CREDENTIALS.isdisjoint(exchange.headers)
        if is_personal and b"cache-control" not in present:
            headers.append(_NO_STORE)
