"""Sockets attacked: by a stranger, and by a user who means harm."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets import ConnectionClosed, InvalidStatus
from websockets.asyncio.client import ClientConnection

from attacks.conftest import ORIGIN, rows
from contract.test_jobs import draft_of
from support.live import Live, code_of, live
from support.service import PASSWORD, Account, Service

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("sockets")]

# As in production.
SETTINGS = {"ws_query_access_tokens": "false"}


@pytest.fixture
def user(user_of_module: Account) -> Account:
    """One for all of these; whoever is logged out or demoted is another."""
    return user_of_module


@pytest.fixture(scope="module")
def other(service: Service) -> Iterator[Account]:
    account = service.create("user")
    with closing(account.client):
        yield account


def resident_kib(service: Service) -> int:
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{service.process.pid}/status").read_text())
    assert match is not None
    return int(match[1])


def ticket_of(account: Account) -> str:
    ticket: str = account.client.post("/auth/ws-ticket").json()["ticket"]
    return ticket


def socket_of(service: Service, account: Account) -> Any:
    return live(service.url, additional_headers={"Authorization": f"Bearer {account.access_token}"})


async def still_serves(service: Service, account: Account) -> None:
    async with socket_of(service, account) as client:
        assert await client.ask(type="ping") == {"type": "pong"}


# By a stranger


@pytest.mark.parametrize(
    "origins",
    [
        ["null"],
        ["https://app.example.com.evil.example"],
        ["https://evil.example/https://app.example.com"],
        ["http://app.example.com"],
        ["https://app.example.com:444"],
        ["https://APP.example.com"],
        ["https://app.example.com, https://evil.example"],
        ["https://app.example.com", "https://evil.example"],
        ["https://evil.example", "https://app.example.com"],
        [""],
    ],
    ids=range(10),
)
async def test_a_foreign_page_with_a_valid_cookie_gets_nothing(
    service: Service, user: Account, origins: list[str]
) -> None:
    with service.client() as browser:
        form = {"username": user.email, "password": PASSWORD}
        assert browser.post("/auth/login?session=cookie", data=form, headers={"Origin": ORIGIN}).status_code == 204
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = [("Cookie", cookie), *(("Origin", origin) for origin in origins)]
    with pytest.raises(InvalidStatus) as refused:
        async with live(service.url, additional_headers=headers):
            pass
    # The server itself refuses what has several.
    assert refused.value.response.status_code == (403 if len(origins) == 1 else 400)
    assert len(origins) > 1 or b'"FORBIDDEN"' in (refused.value.response.body or b"")


async def test_a_ticket_is_good_for_half_a_minute_and_as_long_as_its_session(service: Service, user: Account) -> None:
    old = ticket_of(user)
    with rows(service) as database:
        values = ("2001-01-01 00:00:00.000000", sha256(old.encode()).digest())
        database.execute("UPDATE one_time_tokens SET expires_at = ? WHERE digest = ?", values)
    ticket, leaver = ticket_of(user), service.log_in(user.email)
    orphan = ticket_of(leaver)
    assert leaver.client.post("/auth/logout").status_code == 204
    leaver.client.close()
    for refused in (old, orphan):
        async with live(service.url, f"/ws?token={refused}") as client:
            assert await client.close_code() == 4001
    async with live(service.url, f"/ws?token={ticket}") as client:
        assert await client.ask(type="ping") == {"type": "pong"}


@pytest.mark.parametrize("kind", ["ticket", "access", "refresh", "twice", "both", "bearer", "unsigned"])
async def test_nothing_but_the_right_token_in_the_right_place(service: Service, user: Account, kind: str) -> None:
    unsigned = user.access_token.rpartition(".")[0] + "."
    query = {
        "access": f"token={user.access_token}",
        "refresh": f"token={user.refresh_token}",
        "twice": f"token={ticket_of(user)}&token={ticket_of(user)}",
        "both": f"token={ticket_of(user)}&token=bad",
        "unsigned": f"token={unsigned}",
    }.get(kind, "")
    headers = {"Authorization": f"Bearer {ticket_of(user)}"} if kind == "bearer" else {}
    async with live(service.url, f"/ws?{query}", additional_headers=headers) as client:
        if kind == "ticket":
            # Good for an address alone, where it has to be.
            await client.send(type="auth", token=ticket_of(user))
        assert await client.close_code() == 4001


# By a user who means harm


async def test_a_thousand_sockets_of_one_user_are_twenty(service: Service, user: Account, other: Account) -> None:
    before = resident_kib(service)
    async with AsyncExitStack() as stack:
        codes: list[int | None] = []

        async def attempt() -> int | None:
            return await code_of(await stack.enter_async_context(socket_of(service, user)))

        for _ in range(20):
            codes += await asyncio.gather(*(attempt() for _ in range(50)))
        assert sorted(codes, key=str) == [4029] * 980 + [None] * 20
        await still_serves(service, other)
    assert resident_kib(service) - before < 60_000
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        while await code_of(await stack.enter_async_context(socket_of(service, user))) == 4029:
            await asyncio.sleep(0.05)


class Tampered:
    """Frames that no library would send, within a connection that one has opened."""

    FIN, TEXT, BINARY, CONTINUATION = 0x80, 0x1, 0x2, 0x0

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def send(self, kind: int, payload: bytes) -> None:
        length = len(payload)
        head = bytes([kind, 0x80 | 127]) + length.to_bytes(8)
        if length < 126:
            head = bytes([kind, 0x80 | length])
        elif length < 65_536:
            head = bytes([kind, 0x80 | 126]) + length.to_bytes(2)
        # Masked with zeros, which leave the payload as it is.
        self._connection.transport.write(head + bytes(4) + payload)


@asynccontextmanager
async def tampered(service: Service, account: Account) -> AsyncIterator[tuple[Live, Tampered]]:
    async with socket_of(service, account) as client:
        yield client, Tampered(client.connection)


@pytest.mark.parametrize("form", ["whole", "fragments", "announced"])
async def test_a_frame_of_sixteen_megabytes_is_not_even_read(
    service: Service, user: Account, other: Account, form: str
) -> None:
    before = resident_kib(service)
    async with tampered(service, user) as (client, frames):
        if form == "whole":
            frames.send(Tampered.FIN | Tampered.TEXT, b"x" * 16_000_000)
        elif form == "announced":
            client.connection.transport.write(bytes([0x81, 0xFF]) + (2**62).to_bytes(8) + bytes(4) + b"x")
        else:
            frames.send(Tampered.TEXT, b"x" * 32_768)
            for _ in range(500):
                frames.send(Tampered.CONTINUATION, b"x" * 32_768)
        await ends_with(client, 1009)
    assert resident_kib(service) - before < 20_000
    await still_serves(service, other)


async def ends_with(client: Live, code: int) -> None:
    """Closed with this code, unless what was still on its way had the connection reset before that could be read."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(30):
            while True:
                await client.connection.recv()
    assert closed.value.rcvd is None or closed.value.rcvd.code == code


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b'{"type":"ping"}\xf8'], ids=range(4))
async def test_what_is_no_text_closes_and_is_no_error_of_ours(
    service: Service, user: Account, other: Account, payload: bytes
) -> None:
    async with tampered(service, user) as (client, frames):
        frames.send(Tampered.FIN | Tampered.TEXT, payload)
        assert await client.close_code() == 1007
    await still_serves(service, other)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        '{"type":' * 8_000,
        '{"type":"subscribe","channel":' + "[" * 60_000,
        '{"type":"subscribe","channel":"posts","since":' + "9" * 60_000 + "}",
        '{"type":"subscribe","channel":"posts","since":1e999}',
        '{"type":"subscribe","channel":"posts","since":-1}',
        '{"type":"subscribe","channel":"posts","since":9007199254740993}',
        '{"type":"subscribe","channel":"\\ud800"}',
        '{"type":"subscribe","channel":"posts\\u0000"}',
        '{"type":"subscribe","channel":"posts\\r\\nSet-Cookie: a=b"}',
        '{"type":"auth","token":"\\ud800.\\ud800.\\ud800"}',
        '{"type":"auth","token":"\\u0000"}',
        '{"type":["ping"]}',
        '"ping"',
        "NaN",
    ],
    ids=range(15),
)
async def test_odd_json_is_an_error_of_the_clients(service: Service, user: Account, text: str) -> None:
    async with socket_of(service, user) as client:
        await client.connection.send(text)
        answer = await client.receive()
        assert answer["type"] == "error"
        assert answer["code"] in {"INVALID_MESSAGE", "NOT_FOUND", "INVALID_TOKEN"}
        assert len(json.dumps(answer)) < 300
        assert await client.ask(type="ping") == {"type": "pong"}


async def test_a_flood_of_subscriptions_ends_and_leaves_nothing(
    service: Service, user: Account, other: Account
) -> None:
    async with socket_of(service, user) as client:
        for _ in range(200):
            await client.send(type="subscribe", channel="posts")
            await client.send(type="unsubscribe", channel="posts")
        assert await client.close_code() == 4029
    await still_serves(service, other)
    async with socket_of(service, user) as client:
        assert (await client.subscribe("posts"))["type"] == "subscribed"


async def test_who_reads_a_byte_at_a_time_delays_nobody(service: Service, user: Account, other: Account) -> None:
    post = draft_of(user, "For everybody")
    user.client.post(f"/posts/{post['id']}/publish")
    channel, path = f"user:{other.id}", "/users/me"
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.connect(("127.0.0.1", httpx2.URL(service.url).port))
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        target = f"/ws?token={ticket_of(user)}"
        lines = [f"GET {target} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", key]
        raw.sendall("\r\n".join([*lines, "Sec-WebSocket-Version: 13", "", ""]).encode())
        raw.recv(1)
        async with socket_of(service, other) as client:
            assert (await client.subscribe(channel))["type"] == "subscribed"
            for number in range(20):
                raw.recv(1)
                assert other.client.patch(path, json={"name": f"Name {number}"}).status_code == 200
                assert await client.ask(type="ping") == {"type": "pong"}
