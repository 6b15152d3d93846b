"""The response headers that tell a browser to trust as little as possible."""

from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.middleware._messages import header_value

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


class SecurityHeadersMiddleware:
    """Add the security headers that a response does not already have.

    `Strict-Transport-Security` (RFC 6797) is sent over https alone, as its section 7.2 demands.
    `Cache-Control: no-store` (RFC 9111, section 5.2.2.5) goes on answers to requests that carry credentials
    and on those that set a cookie.

    Args:
        app: The application inside.
        overrides: Headers to add or to change; an empty value leaves one out.
        hsts_max_age_seconds: How long browsers insist on https; 0 sends no header. At least a year is usual.
        hsts_include_subdomains: Whether that holds for subdomains too.
    """

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
        self.app = app
        merged = {name.lower(): value for name, value in {**_DEFAULTS, **(overrides or {})}.items()}
        for name, value in (overrides or {}).items():
            merged[name.lower()] = value
        self._plain = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in merged.items() if v]
        hsts = f"max-age={hsts_max_age_seconds}" + ("; includeSubDomains" if hsts_include_subdomains else "")
        self._secure = [*self._plain]
        if hsts_max_age_seconds:
            self._secure.append((b"strict-transport-security", hsts.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        extra = self._secure if scope.get("scheme") in {"https", "wss"} else self._plain
        has_credentials = (
            header_value(scope, b"authorization") is not None
            or header_value(scope, b"cookie") is not None
            or header_value(scope, b"x-api-key") is not None
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [pair for pair in extra if pair[0] not in present]
                if (has_credentials or b"set-cookie" in present) and b"cache-control" not in present:
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers)
