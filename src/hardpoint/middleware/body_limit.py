"""A bound on the request body, enforced before anybody reads it whole."""

from typing import Final

from starlette.types import ASGIApp, Message

from hardpoint.asgi import Exchange, Part
from hardpoint.errors import PayloadTooLarge, error_response

__all__ = ["BodyLimitMiddleware"]

_BODILESS: Final = frozenset({"GET", "HEAD"})


def _has_no_body(exchange: Exchange) -> bool:
    # RFC 9112, section 6.3: in HTTP/1 a request with neither of the two headers has none, and nothing to count.
    return b"transfer-encoding" not in exchange.headers and exchange.scope.get("http_version", "").startswith("1")


class BodyLimitMiddleware(Part):
    """Answer 413 to a body of more than `max_bytes` (RFC 9110, section 15.5.14).

    A `Content-Length` that is too large is refused before a byte is read. A chunked or lying body is counted as it
    arrives; the read that passes the limit raises `PayloadTooLarge` into the application, and whatever the application
    makes of that, the client gets the 413 unless the response had already begun.

    Starlette's own limit answers in plain text, and from outside of CORS; this one speaks the envelope.

    Args:
        app: The application inside.
        max_bytes: The largest body that passes, in bytes; 0 allows empty bodies alone.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError("max_bytes must not be negative")
        super().__init__(app)
        self.max_bytes = max_bytes

    def on_request(self, exchange: Exchange) -> ASGIApp | None:
        """Refuse what is announced as too large, and count what arrives."""
        announced = exchange.headers.get(b"content-length")
        if announced is None:
            if exchange.scope["method"] in _BODILESS and _has_no_body(exchange):
                return None
        elif announced.isdigit() and int(announced[:20]) > self.max_bytes:
            return error_response(exchange.scope, PayloadTooLarge())
        receive = exchange.receive
        received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_bytes:
                    # The application answers the failed read in its own way, which ours replaces.
                    exchange.notes[self] = PayloadTooLarge()
                    exchange.refuse(exchange.notes[self])
                    raise exchange.notes[self]
            return message

        exchange.receive = counted_receive
        return None

    def on_error(self, exchange: Exchange, error: BaseException) -> ASGIApp | None:
        """Answer for the application whose body was cut off."""
        refusal = exchange.notes.get(self)
        if refusal is None or exchange.started or not isinstance(error, Exception):
            return None
        return error_response(exchange.scope, refusal)
