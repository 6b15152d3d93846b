"""The socket `/ws`, as a client of the service sees it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import httpx2
import pytest
from websockets import InvalidStatus

from contract.conftest import ORIGIN
from contract.posts import draft_of, published
from support.live import Live, live
from support.service import PASSWORD, Account, Service, check_envelope

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def user(service: Service) -> Iterator[Account]:
    """One for all of these tests; whoever ends a session takes `leaver`."""
    account = service.sign_up()
    with closing(account.client):
        yield account


@pytest.fixture(scope="module")
def other(service: Service) -> Iterator[Account]:
    account = service.sign_up()
    with closing(account.client):
        yield account


@pytest.fixture
def leaver(service: Service) -> Iterator[Account]:
    account = service.sign_up()
    with closing(account.client):
        yield account


def with_token(account: Account) -> str:
    return f"/ws?token={account.access_token}"


def ticket_of(account: Account) -> str:
    answer = account.client.post("/auth/ws-ticket")
    assert answer.status_code == 201
    assert answer.json()["expires_in"] == 30
    ticket: str = answer.json()["ticket"]
    return ticket


async def until_message_about(client: Live, post_id: int) -> dict[str, Any]:
    # Other tests publish too.
    while True:
        message = await client.receive()
        if message["data"]["id"] == post_id:
            return message


# Three ways to authenticate


async def test_by_an_access_token_in_the_query(service: Service, user: Account) -> None:
    async with live(service.url, with_token(user)) as client:
        assert await client.ask(type="ping") == {"type": "pong"}


async def test_by_a_ticket_once(service: Service, user: Account) -> None:
    path = f"/ws?token={ticket_of(user)}"
    async with live(service.url, path) as client, live(service.url, path) as again:
        assert (await client.subscribe("user"))["channel"] == f"user:{user.id}"
        assert await again.close_code() == 4001


async def test_by_the_first_message(service: Service, user: Account) -> None:
    async with live(service.url, origin=ORIGIN) as client:
        answer = await client.ask(type="auth", token=user.access_token)
        assert answer["type"] == "authenticated"
        assert answer["user_id"] == user.id
        assert answer["expires_at"].endswith("Z")
        assert 0 < datetime.fromisoformat(answer["expires_at"]).timestamp() - time.time() <= 900
        assert await client.ask(type="ping") == {"type": "pong"}


async def test_by_the_session_cookie_from_an_allowed_origin_alone(service: Service, user: Account) -> None:
    with service.client() as browser:
        form = {"username": user.email, "password": PASSWORD}
        assert browser.post("/auth/login?session=cookie", data=form).status_code == 204
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
    for origin in (ORIGIN, service.url):
        async with live(service.url, origin=origin, additional_headers=headers) as client:
            assert (await client.subscribe("user"))["channel"] == f"user:{user.id}"
    for foreign in ("https://evil.example.com", "null", None):
        with pytest.raises(InvalidStatus) as refused:
            async with live(service.url, origin=foreign, additional_headers=headers):
                pass
        assert refused.value.response.status_code == 403
        assert b'"FORBIDDEN"' in (refused.value.response.body or b"")


async def test_a_cookie_that_no_longer_holds_leaves_the_first_message(service: Service, user: Account) -> None:
    async with live(service.url, origin=ORIGIN, additional_headers={"Cookie": "session=stale"}) as client:
        assert (await client.ask(type="auth", token=user.access_token))["type"] == "authenticated"


@pytest.mark.parametrize("kind", ["bad", "refresh", "changed", "empty"])
async def test_a_token_that_does_not_hold_closes_with_4001(service: Service, user: Account, kind: str) -> None:
    last = "A" if user.access_token[-5] != "A" else "B"
    token = {
        "bad": "bad",
        "refresh": user.refresh_token,
        "changed": user.access_token[:-5] + last + user.access_token[-4:],
        "empty": "",
    }[kind]
    async with live(service.url, f"/ws?token={token}") as client, live(service.url) as other:
        await other.send(type="auth", token=token)
        assert await client.close_code() == 4001
        assert await other.close_code() == 4001


async def test_a_token_never_reaches_the_log(service: Service, user: Account) -> None:
    ticket = ticket_of(user)
    async with live(service.url, with_token(user)) as one, live(service.url, f"/ws?token={ticket}") as two:
        await one.ask(type="ping")
        await two.ask(type="ping")
    assert "websocket" in [event["event"] for event in service.events]
    assert user.access_token not in service.log
    assert ticket not in service.log


# Channels


async def test_a_published_post_reaches_the_channel(service: Service, user: Account, other: Account) -> None:
    async with live(service.url, with_token(other)) as client:
        answer = await client.subscribe("posts")
        assert set(answer) == {"type", "channel", "offset", "recovered"}
        post = published(user, title="Live")
        message = await until_message_about(client, post["id"])
        assert set(message) == {"type", "channel", "offset", "data"}
        assert (message["type"], message["channel"]) == ("message", "posts")
        assert message["data"] == other.client.get(f"/posts/{post['id']}").json()


async def test_comments_reach_the_posts_channel_in_order(service: Service, user: Account, other: Account) -> None:
    post = published(user)
    path = f"/posts/{post['id']}/comments"
    async with live(service.url, with_token(other)) as client:
        await client.subscribe(f"post:{post['id']}")
        written = [user.client.post(path, json={"body": f"Comment {number}"}).json() for number in range(10)]
        assert await client.data(10) == written


async def test_what_was_missed_comes_after_a_reconnect(service: Service, user: Account) -> None:
    post = published(user)
    channel, path = f"post:{post['id']}", f"/posts/{post['id']}/comments"
    async with live(service.url, with_token(user)) as client:
        await client.subscribe(channel)
        user.client.post(path, json={"body": "seen"})
        seen = (await client.receive())["offset"]
    missed = [user.client.post(path, json={"body": f"missed {number}"}).json() for number in range(5)]
    async with live(service.url, with_token(user)) as client:
        answer = await client.subscribe(channel, seen)
        assert answer["recovered"] is True
        assert await client.data(5) == missed
        assert (await client.subscribe(channel, seen + 1_000_000_000))["recovered"] is False


async def test_a_draft_is_for_its_author_and_the_staff(
    service: Service, user: Account, other: Account, admin: Account
) -> None:
    post = draft_of(user)
    for account, allowed in ((user, True), (admin, True), (other, False)):
        async with live(service.url, with_token(account)) as client:
            answer = await client.subscribe(f"post:{post['id']}")
            assert answer["type"] == ("subscribed" if allowed else "error")
            assert allowed or answer["code"] == "NOT_FOUND"


async def test_another_users_channel_is_not_found(service: Service, user: Account, other: Account) -> None:
    async with live(service.url, with_token(user)) as client:
        assert (await client.subscribe(f"user:{other.id}"))["code"] == "NOT_FOUND"
        assert (await client.subscribe(f"user:{user.id}"))["type"] == "subscribed"


async def test_a_comment_on_a_post_that_was_refused_reaches_nobody(
    service: Service, user: Account, other: Account
) -> None:
    post = published(user)
    path = f"/posts/{post['id']}/comments"
    async with live(service.url, with_token(user)) as client:
        await client.subscribe(f"post:{post['id']}")
        assert other.client.post(path, json={"body": ""}).status_code == 422
        comment = other.client.post(path, json={"body": "taken"}).json()
        assert await client.data(1) == [comment]


# new: if jobs
async def test_a_user_is_told_what_becomes_of_their_jobs(service: Service, user: Account, other: Account) -> None:
    post = draft_of(user)
    async with live(service.url, with_token(user)) as client, live(service.url, with_token(other)) as stranger:
        await client.subscribe("user")
        await stranger.subscribe("user")
        job_id = user.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
        changes = await client.data(2)
        assert changes == [
            {"event": "job", "id": job_id, "name": "publish_post", "status": status, "attempt": 1, "error": None}
            for status in ("running", "succeeded")
        ]
        assert await stranger.ask(type="ping") == {"type": "pong"}


# new: end if
# The end of a session


@pytest.mark.parametrize("how", ["logout", "password", "disabled", "deleted"])
async def test_the_end_of_a_session_closes_its_sockets(
    service: Service, leaver: Account, admin: Account, how: str
) -> None:
    async with live(service.url, with_token(leaver)) as client:
        await client.ask(type="ping")
        path = f"/users/{leaver.id}"
        if how == "logout":
            assert leaver.client.post("/auth/logout").status_code == 204
        elif how == "disabled":
            assert admin.client.patch(path, json={"is_active": False}).status_code == 200
        elif how == "deleted":
            assert admin.client.delete(path).status_code == 204
        else:
            other = service.log_in(leaver.email)
            changes = {"current_password": PASSWORD, "password": "another long pass phrase"}
            assert other.client.patch("/users/me", json=changes).status_code == 200
            other.client.close()
        async with asyncio.timeout(5):
            assert await client.close_code() == 4003


async def test_a_demoted_editor_no_longer_receives_drafts(service: Service, user: Account, admin: Account) -> None:
    editor = service.create("editor")
    post = draft_of(user)
    async with live(service.url, with_token(editor)) as client:
        assert (await client.subscribe(f"post:{post['id']}"))["type"] == "subscribed"
        assert admin.client.patch(f"/users/{editor.id}", json={"role": "user"}).status_code == 200
        assert await client.receive() == {"type": "unsubscribed", "channel": f"post:{post['id']}"}
    editor.client.close()


# Events


async def test_the_same_channels_as_events(service: Service, user: Account, anyone: httpx2.Client) -> None:
    check_envelope(anyone.get("/events?channel=posts"), 401, "INVALID_TOKEN")
    post = published(user)
    channel = f"post:{post['id']}"
    with user.client.stream("GET", "/events", params={"channel": channel}) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        assert '"subscribed"' in next(lines)
        comment = user.client.post(f"/posts/{post['id']}/comments", json={"body": "streamed"}).json()
        assert f'"id":{comment["id"]},' in next(lines)


def test_the_sockets_description_is_served(anyone: httpx2.Client) -> None:
    document = anyone.get("/asyncapi.json").json()
    assert {channel["address"] for channel in document["channels"].values()} == {
        "/ws",
        "posts",
        "post:{post_id}",
        "user:{user_id}",
    }
