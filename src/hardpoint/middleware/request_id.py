"""An id for every request, kept when the client's is well-formed, on the response, in the logs and in the context."""

import os
import random
import re
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message

from hardpoint import context
from hardpoint.asgi import Exchange, Part
from hardpoint.texts import token

__all__ = ["RequestIdMiddleware", "new_request_id"]

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


# Nobody is kept out by a request id, so it need not be a secret; the system's random numbers cost ten times as much.
# A generator of our own: an application that seeds the shared one would give every process the same ids.
_random: Final = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def new_request_id() -> str:
    """Sixteen hexadecimal digits from 64 random bits: unique enough for logs, and no secret."""
    return f"{_random.getrandbits(64):016x}"


class RequestIdMiddleware(Part):
    """Give every request and WebSocket an id: in the context, in `request.state`, and in a response header.

    An inbound id counts when it is 1 to 64 of `A-Za-z0-9._-`; anything else is replaced, never copied, because a raw
    value could forge log lines or break the response's own headers.

    Args:
        app: The application inside.
        header: The header that carries the id in both directions.
        generate: Makes a new id.
        trust_inbound: Whether a client's well-formed id is kept. Switch it off where clients may not choose.

    Raises:
        ValueError: `header` is no header's name.
    """

    kinds = frozenset({"http", "websocket"})

    def __init__(
        self,
        app: ASGIApp,
        *,
        header: str = context.REQUEST_ID_HEADER,
        generate: Callable[[], str] = new_request_id,
        trust_inbound: bool = True,
    ) -> None:
        super().__init__(app)
        self._name = token("header", header).lower()
        self._generate = generate
        self._trust_inbound = trust_inbound

    def on_request(self, exchange: Exchange) -> None:
        """Choose the id and make it known."""
        inbound = exchange.headers.get(self._name) if self._trust_inbound else None
        request_id = inbound.decode("ascii") if inbound and _WELL_FORMED.fullmatch(inbound) else self._generate()
        exchange.scope.setdefault("state", {})["request_id"] = request_id
        exchange.notes[self] = request_id, context.request_id.set(request_id)

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """Tell it, alone."""
        headers = message["headers"]
        # As a dictionary, here and in other parts: to go through the list costs ten times as much.
        if self._name in dict(headers):
            headers[:] = [pair for pair in headers if pair[0] != self._name]
        headers.append((self._name, exchange.notes[self][0].encode("latin-1")))

    def on_end(self, exchange: Exchange) -> None:
        """Leave the context as it was."""
        context.request_id.reset(exchange.notes[self][1])
