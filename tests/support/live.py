"""A real WebSocket client that speaks the socket's protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets import ConnectionClosed
from websockets.asyncio.client import ClientConnection, connect

WAIT_SECONDS = 30


class Live:
    """One socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_SECONDS):
            message: dict[str, Any] = json.loads(await self.connection.recv())
            return message

    async def ask(self, **message: Any) -> dict[str, Any]:
        await self.send(**message)
        return await self.receive()

    async def subscribe(self, channel: str, since: int | None = None) -> dict[str, Any]:
        message = {"type": "subscribe", "channel": channel}
        return await self.ask(**message if since is None else {**message, "since": since})

    async def data(self, count: int) -> list[Any]:
        """The data of the next messages, which must follow each other."""
        messages = [await self.receive() for _ in range(count)]
        assert [message["type"] for message in messages] == ["message"] * count
        offsets = [message["offset"] for message in messages]
        assert offsets == sorted(set(offsets))
        return [message["data"] for message in messages]

    async def close_code(self) -> int:
        """The code with which the server closes, whatever it sends before."""
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    await self.connection.recv()
        assert closed.value.rcvd is not None, "the connection ended without a close frame"
        return closed.value.rcvd.code


@asynccontextmanager
async def live(url: str, path: str = "/ws", **options: Any) -> AsyncIterator[Live]:
    """A socket to the server at the HTTP `url`."""
    options = {"compression": None, "max_size": None, **options}
    async with connect(url.replace("http", "ws", 1) + path, **options) as connection:
        yield Live(connection)


async def code_of(client: Live) -> int | None:
    """With which code it is closed, if it is."""
    try:
        await client.ask(type="ping")
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code
    return None
