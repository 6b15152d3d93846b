"""The base of every middleware here, and the exchange that adjacent ones share.

A chain of middlewares that each wrap `send` costs a coroutine and a closure for each of them and each message. Parts
say instead what they do when a request begins, when its response starts, fails and ends; adjacent ones find each other
when they are put around one another, and the outermost runs them all around a single `send`. A part alone is the same
code with one of them, and a foreign middleware in between merely makes two runs of one.
"""

from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Exchange", "Part", "header_values"]

StartHook = Callable[[Message], None]
EndHook = Callable[[], None]
FailureHook = Callable[[BaseException], ASGIApp | None]


class Exchange:
    """One request and its response on the way through adjacent parts.

    Parts begin from the outermost to the innermost and register what they do later; those hooks run from the innermost
    to the outermost, and when a part answers by itself, those further in have registered none.

    Attributes:
        scope: The ASGI scope.
        headers: The request's headers, names in lower case, of a repeated one the first.
        receive: What the application receives by; a part may put its own around it when it begins.
        started: Whether the response has begun.
        status: The response's status, once it has begun.
        body_bytes: How many bytes of the response's body have been sent.
        complete: Whether the response has ended.
    """

    __slots__ = (
        "_ends",
        "_failures",
        "_refusal",
        "_send",
        "_starts",
        "body_bytes",
        "complete",
        "headers",
        "receive",
        "scope",
        "started",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        # One pass for all parts, each of which looks for one or two.
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.receive = receive
        self.started = False
        self.status: int | None = None
        self.body_bytes = 0
        self.complete = False
        self._send = send
        self._starts: list[StartHook] = []
        self._ends: list[EndHook] = []
        self._failures: list[tuple[FailureHook, int, Receive]] = []
        self._refusal: Exception | None = None

    def on_start(self, hook: StartHook) -> None:
        """Call `hook` with the message that starts the response.

        Its headers are a list of the exchange's own, names in lower case, which the hook may change. For a WebSocket
        that message is its acceptance, or the start of the response that refuses it.
        """
        self._starts.append(hook)

    def on_end(self, hook: EndHook) -> None:
        """Call `hook` when everything is over, whatever became of it."""
        self._ends.append(hook)

    def on_failure(self, hook: FailureHook) -> None:
        """Call `hook` with what is raised further in, cancellation included.

        An ASGI application that it gives answers in place of the one that failed, seen by the hooks that were
        registered before this one; `None` lets the next part further out try, and in the end raises on.
        """
        self._failures.append((hook, len(self._starts), self.receive))

    def refuse(self, error: Exception) -> None:
        """Drop what the application answers, unless it has begun to; `error` counts as raised when it returns."""
        self._refusal = error

    async def send(self, message: Message) -> None:
        """What the application sends by."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._refusal is not None:
                return
            self.status = message["status"]
            self._run_start_hooks(message)
        elif kind == "http.response.body":
            if self._refusal is not None and not self.started:
                return
            self.body_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        elif kind == "http.response.pathsend":
            self.complete = True
        await self._send(message)

    def _run_start_hooks(self, message: Message) -> None:
        self.started = True
        # Servers compare names in lower case, which not every application sends.
        message["headers"] = [(name.lower(), value) for name, value in message.get("headers", ())]
        for hook in reversed(self._starts):
            hook(message)

    async def recover(self, error: BaseException) -> bool:
        """Whether a part has answered what was raised."""
        self._refusal = None
        while self._failures:
            hook, place, receive = self._failures.pop()
            answer = hook(error)
            if answer is None:
                continue
            del self._starts[place:]
            try:
                await answer(self.scope, receive, self.send)
            except BaseException as another:  # Cancellation too: the next part further out may have caused it.
                if not await self.recover(another):
                    raise
            return True
        return False

    def check(self) -> None:
        """Raises what the application was refused with, when it has returned without an answer of its own."""
        if self._refusal is not None and not self.started:
            raise self._refusal

    def end(self) -> None:
        """Run the hooks of the end."""
        for hook in reversed(self._ends):
            hook()
        # Hooks know their exchange: such a circle would wait for the garbage collector, which costs more than all else.
        del self._starts, self._ends, self._failures, self.receive


class WebSocketExchange(Exchange):
    """The same for a WebSocket.

    Attributes:
        accepted: Whether the handshake was completed.
        close_code: By which it was closed, from either side.
    """

    __slots__ = ("accepted", "close_code")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.accepted = False
        self.close_code: int | None = None

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect" and self.close_code is None:
                self.close_code = message.get("code", 1005)
            return message

        super().__init__(scope, watched_receive, send)

    async def send(self, message: Message) -> None:
        """What the application sends by."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.accepted = True
            self._run_start_hooks(message)
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            self._run_start_hooks(message)
        elif kind == "websocket.close":
            self.started = True
            if self.close_code is None:
                self.close_code = message.get("code", 1000)
        await self._send(message)


_EXCHANGES: Final = {"http": Exchange, "websocket": WebSocketExchange}


class Part:
    """A middleware that acts at a request's beginning, its response's start, a failure and the end.

        class Greeting(Part):
            def begin(self, exchange: Exchange) -> None:
                exchange.on_start(lambda message: message["headers"].append((b"x-greeting", b"hello")))

        app.add_middleware(Greeting)

    Keep nothing of a request on `self`: a part serves all of them. Whoever needs more than these four moments, such as
    every chunk of a body, writes an ASGI middleware instead.

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
        self._begins = {
            kind: [(part.begin, iscoroutinefunction(part.begin)) for part in self.parts if kind in part.kinds]
            for kind in _EXCHANGES
        }

    def begin(
        self, exchange: Exchange
    ) -> "ASGIApp | Coroutine[Any, Any, ASGIApp | None] | None":  # pragma: no cover - every part has its own.
        """What the part does with a request before the application sees it; may be a coroutine function.

        Returns:
            An application that answers in place of the one inside, such as a response; `None` to go on.
        """
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begins = self._begins.get(scope["type"])
        if not begins:
            await self.innermost(scope, receive, send)
            return
        exchange = _EXCHANGES[scope["type"]](scope, receive, send)
        try:
            try:
                app: ASGIApp | None = None
                for begin, is_async in begins:
                    app = await begin(exchange) if is_async else begin(exchange)  # type: ignore[misc, assignment]
                    if app is not None:
                        break
                await (app or self.innermost)(scope, exchange.receive, exchange.send)
                exchange.check()
            except BaseException as error:
                if not await exchange.recover(error):
                    raise
        finally:
            exchange.end()


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of the request header `name` (lower case), in order."""
    return [value for key, value in scope["headers"] if key == name]
