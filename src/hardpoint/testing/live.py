"""A socket of `hardpoint.realtime` in a test, on Starlette's test client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocketDisconnect

if TYPE_CHECKING:
    # It needs an HTTP client, which whoever has a `TestClient` has.
    from starlette.testclient import TestClient, WebSocketTestSession

__all__ = ["LiveSocket", "live_socket"]


class LiveSocket:
    """One socket; make it with `live_socket`.

    Args:
        session: The test client's session.
        timeout_seconds: How long to wait for a message that does not come.
    """

    def __init__(self, session: "WebSocketTestSession", *, timeout_seconds: float = 10.0) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds

    def send(self, **message: Any) -> None:
        """Send a message, such as `send(type="ping")`."""
        self._session.send_json(message)

    def receive(self) -> dict[str, Any]:
        """The next message, of whatever type.

        Raises:
            WebSocketDisconnect: The server closes instead; its `code` says why.
            AssertionError: Nothing comes.
        """
        # Not the session's own `receive`, which waits for ever, and a test with it.
        waiting = self._session.portal.start_task_soon(self._session._send_rx.receive)  # noqa: SLF001 - see above.
        try:
            frame = waiting.result(self._timeout_seconds)
        except TimeoutError:
            waiting.cancel()
            raise AssertionError(f"Nothing came within {self._timeout_seconds:g} seconds") from None
        if frame["type"] == "websocket.close":
            raise WebSocketDisconnect(frame.get("code", 1000), frame.get("reason"))
        message: dict[str, Any] = json.loads(frame["text"])
        return message

    def subscribe(self, channel: str, since: int | None = None) -> dict[str, Any]:
        """Subscribe; the server's answer.

        Raises:
            AssertionError: It is an error.
        """
        message = {"type": "subscribe", "channel": channel}
        self.send(**message if since is None else {**message, "since": since})
        answer = self.receive()
        assert answer["type"] == "subscribed", answer  # noqa: S101 - this is for tests.
        return answer

    def data(self) -> Any:
        """The data of the next message, which has to be a channel's.

        Raises:
            AssertionError: It is another message.
        """
        message = self.receive()
        assert message["type"] == "message", message  # noqa: S101 - this is for tests.
        return message["data"]


@contextmanager
def live_socket(
    client: "TestClient", path: str = "/ws", *, token: str | None = None, timeout_seconds: float = 10.0
) -> Iterator[LiveSocket]:
    """A socket to the client's application, closed at the end.

        with TestClient(app) as client, signed_in(app, user), live_socket(client) as live:
            live.subscribe("posts")
            client.post("/posts/1/publish")
            assert live.data()["id"] == 1

    Args:
        client: A client whose lifespan has been started, with `with`.
        path: Where the socket is.
        token: An access token or a ticket; not needed for a user who is `signed_in`.
        timeout_seconds: How long to wait for a message that does not come.
    """
    query = "" if token is None else f"?token={token}"
    with client.websocket_connect(f"{path}{query}") as session:
        yield LiveSocket(session, timeout_seconds=timeout_seconds)
