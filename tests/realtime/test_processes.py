"""Two instances on one PostgreSQL and one Valkey: what was committed reaches everybody once, whoever dies meanwhile."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets import ConnectionClosed, InvalidHandshake

from contract.test_jobs import draft_of, finished
from support.live import live
from support.servers import PostgresServer, ValkeyServer
from support.service import Account, Service, run_cli

pytestmark = pytest.mark.anyio

COMMENTS = 120


class Follower:
    """A client that comes back whenever its connection ends, with its place in the channel."""

    def __init__(self, channel: str, token: str, urls: list[str]) -> None:
        self.channel = channel
        self.token = token
        self.urls = cycle(urls)
        self.ids: list[int] = []
        self.connections = 0
        self.losses = 0
        self._place: int | None = None

    async def follow(self) -> None:
        for url in self.urls:
            try:
                await self._follow(url)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await asyncio.sleep(0.1)

    async def _follow(self, url: str) -> None:
        async with live(url, f"/ws?token={self.token}") as client:
            answer = await client.subscribe(self.channel, self._place)
            while answer["type"] == "error":
                await asyncio.sleep(0.1)
                answer = await client.subscribe(self.channel, self._place)
            self._take(answer)
            self.connections += 1
            while True:
                self._take(await client.receive())

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self.ids.append(message["data"]["id"])
        elif self._place is not None and not message["recovered"]:
            self.losses += 1
        self._place = message["offset"]


@pytest.fixture
def instances(
    postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[tuple[ValkeyServer, list[Service], dict[str, str]]]:
    folder = tmp_path / "valkey"
    folder.mkdir()
    persistent = ("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer.started(*persistent))
        settings = {
            "environment": "test",
            "database_url": postgres_server.create_database(),
            "redis_url": valkey.url,
            "secret_key": "a secret of both instances, 0123456789",
            "public_url": "http://127.0.0.1:1",
            "rate_limit": "off",
        }
        assert run_cli("db", "upgrade", cwd=tmp_path, **settings).returncode == 0
        services = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            services.append(stack.enter_context(Service.started(tmp_path / name, **settings)))
        yield valkey, services, settings


async def comment(account: Account, services: list[Service], path: str, number: int) -> None:
    """Written at one instance or, when that is away, at the other; perhaps twice, when an answer was lost."""
    headers = {"Authorization": f"Bearer {account.access_token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as client:
        for attempt in range(100):
            service = services[(number + attempt) % len(services)]
            try:
                answer = await client.post(f"{service.url}{path}", json={"body": f"Comment {number}"})
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
                continue
            assert answer.status_code == 201, answer.text
            return
    raise AssertionError("nobody takes a comment")


async def ids_in_the_database(account: Account, service: Service, path: str) -> list[int]:
    ids: list[int] = []
    query: dict[str, Any] = {"limit": 100}
    headers = {"Authorization": f"Bearer {account.access_token}"}
    async with httpx2.AsyncClient(headers=headers) as client:
        while True:
            page = (await client.get(f"{service.url}{path}", params=query)).json()
            ids += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                return sorted(ids)
            query["cursor"] = page["next_cursor"]


async def test_a_restarted_store_and_a_killed_instance_lose_nothing(
    instances: tuple[ValkeyServer, list[Service], dict[str, str]],
) -> None:
    valkey, services, _ = instances
    account = services[0].create("admin")
    account.client.close()
    with httpx2.Client(base_url=services[0].url, headers=account.client.headers, timeout=30) as client:
        account.client = client
        post = draft_of(account)
        job_id = client.post(f"/posts/{post['id']}/publish").json()["job_id"]
        assert finished(account, job_id)["status"] == "succeeded"
    path = f"/posts/{post['id']}/comments"
    urls = [service.url for service in services]
    # Fewer than a user may have at either instance, also when all of them are at one.
    followers = [Follower(f"post:{post['id']}", account.access_token, urls) for _ in range(16)]
    for follower in followers[::2]:
        next(follower.urls)
    following = [asyncio.ensure_future(follower.follow()) for follower in followers]
    try:
        async with asyncio.timeout(120):
            while not all(follower.connections for follower in followers):
                await asyncio.sleep(0.05)
            for number in range(COMMENTS):
                if number in {20, 60}:
                    await asyncio.to_thread(valkey.kill)
                if number in {30, 65}:
                    await asyncio.to_thread(valkey.start)
                if number in {40, 90}:
                    await asyncio.to_thread(services[1].kill_and_start)
                await comment(account, services, path, number)
            expected = await ids_in_the_database(account, services[0], path)
            while not all(len(follower.ids) >= len(expected) for follower in followers):
                await asyncio.sleep(0.1)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert len(expected) >= COMMENTS
    for follower in followers:
        assert follower.ids == followers[0].ids
        assert sorted(follower.ids) == expected
        assert follower.losses == 0
    assert sum(follower.connections for follower in followers) > len(followers)
