"""The base of every middleware here, and the exchange that adjacent ones share.

A chain of middlewares that each wrap `send` costs a coroutine and a closure for each of them and each message. Parts
say instead what they do with a request, with the start of its response, with an error and at the end; adjacent ones
find each other when they are put around one another, and the outermost runs them all around a single `send`. A part
alone is the same code with one of them, and a foreign middleware in between merely makes two runs of one.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Exchange", "Part", "WebSocketExchange", "header_values"]


class Exchange:
    """One request and its response on the way through adjacent parts.

    Attributes:
        scope: The ASGI scope.
        headers: The request's headers, names in lower case, of a repeated one the first.
        receive: What the application receives by; a part may put its own around it.
        notes: What each part wants to remember of this request, by the part.
        started: Whether the response has begun.
        status: The response's status, once it has begun.
        body_bytes: How many bytes of the response's body have been sent.
        complete: Whether the response has ended.
    """

    __slots__ = (
        "_chain",
        "_depth",
        "_refusal",
        "_send",
        "body_bytes",
        "complete",
        "headers",
        "notes",
        "receive",
        "scope",
        "started",
        "status",
    )

    def __init__(self, chain: "_Chain", scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        # One pass for all parts, each of which looks for one or two.
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.receive = receive
        self.notes: dict[Part, Any] = {}
        self.started = False
        self.status: int | None = None
        self.body_bytes = 0
        self.complete = False
        self._send = send
        self._chain = chain
        # How many parts, from the outermost on, stand outside of what answers.
        self._depth = 0
        self._refusal: Exception | None = None

    def refuse(self, error: Exception) -> None:
        """Drop what the application answers, unless it has begun to; `error` counts as raised when it returns."""
        self._refusal = error

    def send(self, message: Message) -> Awaitable[None]:
        """What the application sends by."""
        # Not a coroutine function: it waits for nothing itself, and every message would cost one more coroutine.
        kind = message["type"]
        if kind == "http.response.body":
            if self._refusal is not None and not self.started:
                return _done()
            self.body_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        elif kind == "http.response.start":
            if self._refusal is not None:
                return _done()
            self.status = message["status"]
            self._tell_parts(message)
        elif kind == "http.response.pathsend":
            self.complete = True
        return self._send(message)

    def _tell_parts(self, message: Message) -> None:
        # Servers compare names in lower case, which not every application sends.
        message["headers"] = [(name.lower(), value) for name, value in message.get("headers", ())]
        for on_response in self._chain.on_response[self._depth]:
            on_response(self, message)
        # Not before: where a part raises, nothing has been sent, and an error can still be answered.
        self.started = True

    async def run(self, answer: ASGIApp, depth: int) -> None:
        """Let `answer` answer inside of the first `depth` parts."""
        self._depth = depth
        await answer(self.scope, self.receive, self.send)
        if self._refusal is not None and not self.started:
            raise self._refusal

    async def recover(self, error: BaseException, depth: int) -> bool:
        """Whether one of the first `depth` parts has answered what was raised further in."""
        self._refusal = None
        for place, on_error in self._chain.on_error[depth]:
            answer = on_error(self, error)
            if answer is None:
                continue
            try:
                await self.run(answer, place)
            except BaseException as another:  # Cancellation too: a part further out may have caused it.
                if not await self.recover(another, place):
                    raise
            return True
        return False


class WebSocketExchange(Exchange):
    """The same for a WebSocket.

    Attributes:
        accepted: Whether the handshake was completed.
        close_code: By which it was closed, from either side.
    """

    __slots__ = ("_receive", "accepted", "close_code")

    def __init__(self, chain: "_Chain", scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(chain, scope, self._watched_receive, send)
        self.accepted = False
        self.close_code: int | None = None
        self._receive = receive

    async def _watched_receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and self.close_code is None:
            self.close_code = message.get("code", 1005)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """What the application sends by."""
        kind = message["type"]
        if kind == "websocket.accept":
            self._tell_parts(message)
            self.accepted = True
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            self._tell_parts(message)
        elif kind == "websocket.close":
            self.started = True
            if self.close_code is None:
                self.close_code = message.get("code", 1000)
        return self._send(message)


async def _done() -> None:
    """What was dropped needs no waiting."""


_EXCHANGES: Final = {"http": Exchange, "websocket": WebSocketExchange}


class Part:
    """A middleware that acts on a request, on the start of its response, on an error, and at the end.

        class Greeting(Part):
            def on_response(self, exchange: Exchange, message: Message) -> None:
                message["headers"].append((b"x-greeting", b"hello"))

        app.add_middleware(Greeting)

    Requests pass the parts from the outermost to the innermost, everything else from the innermost to the outermost.
    Keep nothing of a request on `self`, which serves all of them, but in `exchange.notes[self]`. Whoever needs more
    than these four moments, such as every chunk of a body, writes an ASGI middleware instead.

    Attributes:
        kinds: The scopes that the part takes part in, `http`, `websocket` or both; it lets others pass untouched.
        app: The application inside.
        parts: This one and those that it runs together with, outermost first.
        innermost: The application inside of all of them.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"http"})

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.parts: tuple[Part, ...] = (self,)
        self.innermost = app
        # A subclass that overrides `__call__` does something of its own there, and is left alone.
        if isinstance(app, Part) and type(app).__call__ is Part.__call__:
            self.parts += app.parts
            self.innermost = app.innermost
        by_kind = {kind: [part for part in self.parts if kind in part.kinds] for kind in _EXCHANGES}
        self._chains = {kind: _Chain(parts) for kind, parts in by_kind.items() if parts}

    def on_request(self, exchange: Exchange) -> "ASGIApp | Coroutine[Any, Any, ASGIApp | None] | None":  # noqa: ARG002
        """What the part does before the application sees the request; may be a coroutine function.

        Returns:
            An application that answers in place of the one inside, such as a response; `None` to go on.
        """
        return None

    def on_response(self, exchange: Exchange, message: Message) -> None:
        """What the part does with the message that starts the response.

        Its headers are a list of the exchange's own, names in lower case, which may be changed. For a WebSocket that
        message is its acceptance, or the start of the response that refuses it. A part that has answered by itself is
        not asked.
        """

    def on_error(self, exchange: Exchange, error: BaseException) -> ASGIApp | None:  # noqa: ARG002
        """What the part does with what is raised further in, cancellation included.

        Returns:
            An application that answers in its place; `None` lets the next part further out try, and in the end raises.
        """
        return None

    def on_end(self, exchange: Exchange) -> None:
        """What the part does when everything is over, whatever became of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        chain = self._chains.get(kind)
        if chain is None:
            await self.innermost(scope, receive, send)
            return
        exchange = _EXCHANGES[kind](chain, scope, receive, send)
        # How many parts have had the request: the others have no end either.
        depth = 0
        try:
            try:
                answer: Any = None
                for depth, on_request in chain.on_request:  # noqa: B007 - it is known when one of them raises, too.
                    answer = on_request(exchange)
                    if answer is not None:
                        if isinstance(answer, Coroutine):
                            answer = await answer
                        if answer is not None:
                            break
                else:
                    depth = chain.depth
                await exchange.run(answer or self.innermost, depth)
            except BaseException as error:
                if not await exchange.recover(error, depth):
                    raise
        finally:
            for on_end in chain.on_end[depth]:
                on_end(exchange)
            # It may know the exchange: such a circle would be left to the garbage collector, at a price.
            del exchange.receive


class _Chain:
    """What adjacent parts do with one kind of scope, for each number of them that a request has got to."""

    def __init__(self, parts: list[Part]) -> None:
        self.depth = len(parts)
        self.on_request = tuple(_acting(parts, "on_request"))
        depths = range(len(parts) + 1)
        self.on_response = [[act for _, act in _acting(parts[:depth], "on_response")[::-1]] for depth in depths]
        self.on_error = [_acting(parts[:depth], "on_error")[::-1] for depth in depths]
        self.on_end = [[act for _, act in _acting(parts[:depth], "on_end")[::-1]] for depth in depths]


def _acting(parts: list[Part], method: str) -> list[tuple[int, Callable[..., Any]]]:
    """What the parts that have a method of their own do by it, the outermost first, each with its place."""
    own = getattr(Part, method)
    acting = [(place, part) for place, part in enumerate(parts) if getattr(type(part), method) is not own]
    return [(place, getattr(part, method)) for place, part in acting]


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of the request header `name` (lower case), in order."""
    return [value for key, value in scope["headers"] if key == name]
