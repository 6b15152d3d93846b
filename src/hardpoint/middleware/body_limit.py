"""A bound on the request body, enforced before anybody reads it whole."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardpoint.errors import PayloadTooLarge, error_response
from hardpoint.middleware._messages import header_value

__all__ = ["BodyLimitMiddleware"]


class BodyLimitMiddleware:
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
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = header_value(scope, b"content-length")
        if announced is not None and announced.isdigit() and int(announced[:20]) > self.max_bytes:
            await error_response(scope, PayloadTooLarge())(scope, receive, send)
            return
        received = 0
        exceeded = False
        started = False

        async def counted_receive() -> Message:
            nonlocal received, exceeded
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.max_bytes:
                    exceeded = True
                    raise PayloadTooLarge
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if exceeded and not started:
                # The application answers the failed read in its own way; ours follows below.
                return
            started = True
            await send(message)

        try:
            await self.app(scope, counted_receive, guarded_send)
        except PayloadTooLarge:
            if not exceeded or started:
                raise
        if exceeded and not started:
            await error_response(scope, PayloadTooLarge())(scope, receive, send)
