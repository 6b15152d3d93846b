"""ASGI applications and messages for tests that look at each message."""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import httpx2

Message = MutableMapping[str, Any]


def http_scope(path: str = "/", method: str = "GET", headers: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("203.0.113.7", 1234),
        "server": ("127.0.0.1", 80),
        "state": {},
        **more,
    }


async def call(app: Any, scope: dict[str, Any], *received: Message) -> list[Message]:
    """The messages that `app` sends, given what it receives; after those the client has left."""
    queue = list(received) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def client_of(app: Any, **options: Any) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", **options)


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def fields(self, event: str) -> list[dict[str, Any]]:
        return [getattr(record, "fields", {}) for record in self.records if getattr(record, "event", None) == event]


@contextmanager
def logged(name: str = "hardpoint") -> Iterator[Records]:
    """What is logged below `name` meanwhile."""
    handler = Records()
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
