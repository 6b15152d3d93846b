"""Sockets that follow channels, come back whenever they end, and miss nothing."""

import asyncio
import json
from typing import Any

from websockets import ConnectionClosed, InvalidHandshake
from websockets.asyncio.client import ClientConnection, connect

from chaos.account import Account
from chaos.client import Client
from chaos.ledger import Ledger
from support.service import PASSWORD

_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 1.0
# A client that hears nothing at all looks whether the other end is there.
_PING_SECONDS = 5.0
# Cut off, no answer to a ping, the server restarts, the token has expired.
_EXPECTED_CODES = {1006, 1011, 1012, 4003}
_NOT_AUTHENTICATED = 4001
# A little less than an access token lives.
_TOKEN_SECONDS = 880


class Place:
    """Where a follower is in a channel, and what it has got there."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.ids: set[int] = set()
        self.losses = 0


class Heard:
    """What everybody has heard: the same message at the same place for all."""

    def __init__(self) -> None:
        self.messages: dict[tuple[str, int], int] = {}
        self.places: dict[tuple[str, int], int] = {}
        self.store_has_forgotten = False
        """Whether the store was made to lose its memory, after which a message may come once more."""

    def fault_of(self, channel: str, offset: int, number: int) -> str | None:
        """Why it cannot be that everybody gets `number` at `offset`."""
        if self.messages.setdefault((channel, offset), number) != number:
            return f"{channel} {offset} is {number}, and was {self.messages[channel, offset]}"
        if self.places.setdefault((channel, number), offset) != offset and not self.store_has_forgotten:
            return f"{channel} {offset} is {number}, which was at {self.places[channel, number]}"
        return None


class Follower:
    """One socket at a time, by way of nginx.

    Args:
        name: What it is called in the account.
        email: Whose socket it is.
        address: Where it comes from.
        url: nginx.
        channels: What it follows.
        by_ticket: Whether it says who it is by a ticket in the address, or by its first message.
    """

    def __init__(
        self,
        name: str,
        email: str,
        address: str,
        url: str,
        channels: list[str],
        *,
        by_ticket: bool,
        heard: Heard,
        account: Account,
        ledger: Ledger,
    ) -> None:
        self.name = name
        self.places = {channel: Place() for channel in channels}
        self.is_connected = False
        self.connections = 0
        self._email = email
        self._address = address
        self._url = url.replace("http", "ws", 1)
        self._by_ticket = by_ticket
        self._heard = heard
        self._account = account
        self._client = Client(url, address, account, ledger)
        self._token: str | None = None
        self._token_since = 0.0
        self._pending: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        pause = _RETRY_SECONDS
        try:
            while True:
                try:
                    before = self.connections
                    await self._follow()
                except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as error:
                    self._judge(error)
                finally:
                    self.is_connected = False
                pause = _RETRY_SECONDS if self.connections > before else min(2 * pause, _LONGEST_RETRY_SECONDS)
                await asyncio.sleep(pause)
        finally:
            await self._client.close()

    def _judge(self, error: Exception) -> None:
        self._account.note(f"{self.name}: {error!r}")
        if isinstance(error, ConnectionClosed):
            code = 1006 if error.rcvd is None else error.rcvd.code
            is_old = self._account.seconds - self._token_since > _TOKEN_SECONDS
            if code in {4003, _NOT_AUTHENTICATED}:
                self._token = None
            # nginx may have tried the handshake at one instance, which took the ticket and died, and then at the other.
            if code not in _EXPECTED_CODES and not (code == _NOT_AUTHENTICATED and (is_old or self._by_ticket)):
                self._account.violated(f"{self.name}: closed with {code} {error.rcvd and error.rcvd.reason}")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None and status not in {503, 504}:
            self._account.violated(f"{self.name}: the handshake was answered with {status}")

    async def _log_in(self) -> str | None:
        form = {"username": self._email, "password": PASSWORD}
        self._token_since = self._account.seconds
        answer = await self._client.ask("POST", "/auth/login", 200, data=form)
        return None if answer is None else str(answer.json()["access_token"])

    async def _follow(self) -> None:
        self._token = self._token or await self._log_in()
        if self._token is None:
            return
        path = "/ws"
        if self._by_ticket:
            answer = await self._client.ask("POST", "/auth/ws-ticket", 201, 401, token=self._token)
            if answer is None or answer.status_code == 401:
                self._token = None if answer is not None else self._token
                return
            path = f"/ws?token={answer.json()['ticket']}"
        options: dict[str, Any] = {"local_addr": (self._address, 0), "compression": None, "open_timeout": 60}
        async with connect(self._url + path, ping_interval=_PING_SECONDS, ping_timeout=15, **options) as connection:
            if not self._by_ticket:
                await connection.send(json.dumps({"type": "auth", "token": self._token}))
                # Closed, or the answer.
                if json.loads(await connection.recv())["type"] != "authenticated":
                    self._account.violated(f"{self.name}: was not authenticated")
            self._pending.clear()
            for channel in self.places:
                await self._subscribe(connection, channel)
            while True:
                await self._take(connection, json.loads(await connection.recv()))

    async def _subscribe(self, connection: ClientConnection, channel: str) -> None:
        self._pending.append(channel)
        since = self.places[channel].offset
        message = {"type": "subscribe", "channel": channel}
        await connection.send(json.dumps(message if since is None else {**message, "since": since}))

    async def _take(self, connection: ClientConnection, message: dict[str, Any]) -> None:
        kind, channel = message["type"], message.get("channel")
        if kind == "error":
            if message["code"] != "SERVICE_UNAVAILABLE":
                self._account.violated(f"{self.name}: {message}")
            # The server answers one frame after the other, so it is about the first that waits for its answer.
            refused = self._pending.pop(0)
            await asyncio.sleep(_RETRY_SECONDS)
            await self._subscribe(connection, refused)
        elif kind == "subscribed":
            await self._stand(str(channel), message["offset"], recovered=message["recovered"])
        elif kind == "message":
            self._hear(str(channel), message["offset"], message["data"]["id"])
        else:
            self._account.violated(f"{self.name}: {message}")

    async def _stand(self, channel: str, offset: int, *, recovered: bool) -> None:
        place = self.places[channel]
        if recovered and place.offset != offset:
            self._account.violated(f"{self.name}: was at {place.offset} of {channel}, and recovers from {offset}")
        if place.offset is not None and not recovered:
            place.losses += 1
            self._account.note(f"{self.name}: was told that {channel} has lost messages")
        if not recovered:
            await self._fetch(channel)
        place.offset = offset
        if channel in self._pending:
            self._pending.remove(channel)
        if not self._pending and not self.is_connected:
            self.is_connected = True
            self.connections += 1

    async def _fetch(self, channel: str) -> None:
        """Everything that there is, by HTTP: what a client does that was told that it has missed something."""
        kind, _, number = channel.partition(":")
        route = "/posts" if kind == "posts" else f"/posts/{number}/comments"
        cursor: str | None = None
        while True:
            query = {"limit": 100} if cursor is None else {"limit": 100, "cursor": cursor}
            answer = await self._client.ask("GET", route, 200, params=query)
            if answer is None:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            page = answer.json()
            self.places[channel].ids |= {item["id"] for item in page["items"]}
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _hear(self, channel: str, offset: int, number: int) -> None:
        place = self.places[channel]
        if place.offset is None or offset != place.offset + 1:
            self._account.violated(f"{self.name}: got {offset} of {channel} after {place.offset}")
        fault = self._heard.fault_of(channel, offset, number)
        if fault is not None:
            self._account.violated(f"{self.name}: {fault}")
        place.offset = offset
        place.ids.add(number)
