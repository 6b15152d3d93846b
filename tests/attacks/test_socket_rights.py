"""Sockets attacked where the database decides: tickets, ids, roles."""

import asyncio
from typing import Any

import pytest

from attacks.conftest import BOTH
from contract.test_jobs import draft_of
from support.live import code_of, live
from support.service import Account, Service

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("socket_rights")]

DATABASES = BOTH


@pytest.fixture
def user(user_of_module: Account) -> Account:
    return user_of_module


def socket_of(service: Service, account: Account) -> Any:
    return live(service.url, f"/ws?token={account.access_token}")


async def test_a_ticket_opens_one_socket_of_many_that_try_at_once(service: Service, user: Account) -> None:
    ticket = user.client.post("/auth/ws-ticket").json()["ticket"]

    async def attempt() -> int | None:
        async with live(service.url, f"/ws?token={ticket}") as client:
            return await code_of(client)

    codes = await asyncio.gather(*(attempt() for _ in range(20)))
    assert sorted(codes, key=str) == [4001] * 19 + [None]


@pytest.mark.parametrize(
    "channel",
    [
        "post:9223372036854775807",
        "post:9223372036854775808",
        "post:-9223372036854775809",
        "post:" + "9" * 190,
        "post:0",
        "post:-1",
        "post:01",
        "post:+1",
        "post:1.0",
        "post:1e3",
        "post:0x1",
        "post:٣",
        "post:1 OR 1=1",
        "post:{post_id}",
        "post:",
        "post",
        "posts:1",
        "POSTS",
        "user:",
        "user:0",
        "user:user",
        "../posts",
        "*",
        "hardpoint:alive",
        "principals",
    ],
)
async def test_odd_names_are_no_channels(service: Service, user: Account, channel: str) -> None:
    async with socket_of(service, user) as client:
        answer = await client.subscribe(channel)
        assert answer["type"] == "error"
        assert answer["code"] in {"NOT_FOUND", "VALIDATION_ERROR", "INVALID_MESSAGE"}
        assert (await client.subscribe("posts"))["type"] == "subscribed"


async def test_a_demoted_editors_subscriptions_of_the_moment_end_with_the_others(
    service: Service, user: Account, admin: Account
) -> None:
    """Whatever is subscribed to before, while and after the role changes: in the end nothing is received."""
    editor = service.create("editor")
    posts = [draft_of(user, f"Draft {number}") for number in range(30)]
    channels = [f"post:{post['id']}" for post in posts]
    async with socket_of(service, editor) as client:
        demoting = asyncio.create_task(
            asyncio.to_thread(admin.client.patch, f"/users/{editor.id}", json={"role": "user"})
        )
        standing: set[str] = set()
        for channel in channels:
            await client.send(type="subscribe", channel=channel)
        await client.send(type="ping")
        while (message := await client.receive())["type"] != "pong":
            take(standing, message)
        assert (await demoting).status_code == 200
        async with asyncio.timeout(5):
            while standing:
                take(standing, await client.receive())
        for post in posts[:3]:
            body = {"body": "secret"}
            assert user.client.post(f"/posts/{post['id']}/comments", json=body).status_code == 201
        assert await client.ask(type="ping") == {"type": "pong"}
    editor.client.close()


def take(standing: set[str], message: dict[str, Any]) -> None:
    """What a client receives, as far as it has been told."""
    if message["type"] == "subscribed":
        standing.add(message["channel"])
    elif message["type"] == "unsubscribed":
        standing.discard(message["channel"])
    else:
        assert (message["type"], message["code"]) == ("error", "NOT_FOUND")
