"""What several middlewares need to know of ASGI messages and scopes."""

from typing import Final

from starlette.types import Message, Scope

__all__ = ["add_header", "has_header", "header_value", "header_values", "is_response_start"]

# A WebSocket that is accepted, or refused by the HTTP response extension, starts a response too.
_STARTS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def is_response_start(message: Message) -> bool:
    """Whether `message` carries response headers: of HTTP, of a WebSocket's acceptance, or of its refusal."""
    return message["type"] in _STARTS


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of the request header `name` (lower case), in order."""
    return [value for key, value in scope["headers"] if key == name]


def header_value(scope: Scope, name: bytes) -> bytes | None:
    """The first value of the request header `name` (lower case)."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def has_header(message: Message, name: bytes) -> bool:
    """Whether a response start already has the header `name` (lower case)."""
    return any(key.lower() == name for key, _ in message.get("headers", ()))


def add_header(message: Message, name: bytes, value: bytes) -> None:
    """Append a header to a response start, whatever kind of iterable its headers are."""
    message["headers"] = [*message.get("headers", ()), (name, value)]
