"""Two instances on one PostgreSQL and one Valkey: what was committed reaches everybody once, whoever dies meanwhile.

`HARDPOINT_STORM_SEEDS=20` tries as many different sequences of faults instead of one; `make stress-live` does.
"""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from itertools import cycle
from typing import Any

import httpx2
import pytest
from websockets import ConnectionClosed, InvalidHandshake

from contract.test_jobs import draft_of, finished
from hardpoint.broadcast import MemoryBroadcast
from hardpoint.realtime import History
from hardpoint.realtime.valkey import open_valkey_channels
from support.live import Live, live
from support.servers import PostgresServer, ValkeyServer
from support.service import Account, Service, run_cli

# One worker has all of them, so that the instances are started once.
pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("instances")]

COMMENTS = 120
SEEDS = range(int(os.environ.get("HARDPOINT_STORM_SEEDS", "1")))
Instances = tuple[ValkeyServer, list[Service]]


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


@pytest.fixture(scope="module")
def instances(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    folder = tmp_path_factory.mktemp("instances")
    (folder / "valkey").mkdir()
    persistent = ("--dir", str(folder / "valkey"), "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer.started(*persistent))
        settings = {
            "environment": "test",
            "database_url": postgres_server.create_database(),
            "redis_url": valkey.url,
            "secret_key": "a secret of both instances, 0123456789",
            "public_url": "http://127.0.0.1:1",
            "rate_limit": "off",
            "login_rate_limit": "off",
        }
        assert run_cli("db", "upgrade", cwd=folder, **settings).returncode == 0
        services = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            services.append(stack.enter_context(Service.started(folder / name, **settings)))
        yield valkey, services


@pytest.fixture(scope="module")
def admin(instances: Instances) -> Iterator[Account]:
    account = instances[1][0].create("admin")
    with closing(account.client):
        yield account


def published(account: Account) -> dict[str, Any]:
    post = draft_of(account)
    job_id = account.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    assert finished(account, job_id)["status"] == "succeeded"
    return post


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


@pytest.mark.parametrize("how", ["logout", "disabled"])
async def test_a_session_that_ends_at_one_instance_ends_its_sockets_at_every_one(
    instances: Instances, admin: Account, how: str
) -> None:
    _, services = instances
    leaver = services[0].create("user")
    async with AsyncExitStack() as stack:
        path = f"/ws?token={leaver.access_token}"
        clients = [await stack.enter_async_context(live(service.url, path)) for service in services]
        for client in clients:
            await client.ask(type="ping")
        if how == "logout":
            assert leaver.client.post("/auth/logout").status_code == 204
        else:
            assert admin.client.patch(f"/users/{leaver.id}", json={"is_active": False}).status_code == 200
        async with asyncio.timeout(5):
            assert [await client.close_code() for client in clients] == [4003, 4003]
    leaver.client.close()


async def test_everybody_at_both_instances_gets_everything_beside_one_who_never_reads(
    instances: Instances, admin: Account
) -> None:
    """Published by another process; `make stress-live` does it with 2,000 and measures."""
    valkey, services = instances
    channel = f"post:{published(admin)['id']}"
    readers = [services[0].create("user") for _ in range(2)]
    async with (
        open_valkey_channels(valkey.url, MemoryBroadcast()) as store,
        AsyncExitStack() as stack,
        never_reading(services[0].url, admin.access_token) as slow,
    ):
        clients = []
        for service in services:
            for reader in readers:
                for _ in range(10):
                    client = await stack.enter_async_context(live(service.url, f"/ws?token={reader.access_token}"))
                    assert (await client.subscribe(channel))["type"] == "subscribed"
                    clients.append(client)
        await slow.send(type="subscribe", channel=channel)
        reading = [asyncio.ensure_future(client.data(200)) for client in clients]
        for number in range(200):
            await store.publish(channel, b'[%d,"%s"]' % (number, b"x" * 30_000), history=History(count=200))
        for data in await asyncio.gather(*reading):
            assert [number for number, _ in data] == list(range(200))
        slow.connection.transport.resume_reading()
        assert await slow.close_code() == 4008
    for reader in readers:
        reader.client.close()


@asynccontextmanager
async def never_reading(url: str, token: str) -> AsyncIterator[Live]:
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", httpx2.URL(url).port))
        async with live(url, f"/ws?token={token}", sock=raw, max_queue=1) as client:
            client.connection.transport.pause_reading()
            yield client


async def test_who_is_at_an_instance_that_leaves_goes_on_at_the_other(instances: Instances, admin: Account) -> None:
    _, services = instances
    post = published(admin)
    channel, path = f"post:{post['id']}", f"/posts/{post['id']}/comments"
    async with AsyncExitStack() as stack:
        token = f"/ws?token={admin.access_token}"
        clients = [await stack.enter_async_context(live(services[1].url, token)) for _ in range(10)]
        places = [(await client.subscribe(channel))["offset"] for client in clients]
        leaving = asyncio.create_task(asyncio.to_thread(services[1].kill_and_start, signal.SIGTERM))
        assert [await client.close_code() for client in clients] == [1012] * 10
        written = [admin.client.post(path, json={"body": f"Comment {number}"}).json() for number in range(5)]
        for place in places:
            async with live(services[0].url, token) as client:
                assert (await client.subscribe(channel, place))["recovered"] is True
                assert await client.data(5) == written
        await leaving


class Storm:
    """Faults at random moments between comments, each healed some comments later.

    Args:
        seed: Which sequence.
        valkey: What may be killed, stopped, or throw its subscribers out.
        services: What may be killed or asked to leave.
    """

    def __init__(self, seed: int, valkey: ValkeyServer, services: list[Service]) -> None:
        chance = random.Random(seed)
        self._steps: dict[int, Callable[[], Any]] = {}
        number = chance.randint(5, 20)
        while number < COMMENTS - 20:
            service = chance.choice(services)
            faults: list[tuple[Callable[[], Any], Callable[[], Any] | None]] = [
                (valkey.kill, valkey.start),
                (lambda: valkey.signal(signal.SIGSTOP), lambda: valkey.signal(signal.SIGCONT)),
                (lambda: valkey.command("CLIENT", "KILL", "TYPE", "pubsub"), None),
                (service.kill_and_start, None),
                (lambda service=service: service.kill_and_start(signal.SIGTERM), None),
            ]
            strike, heal = chance.choice(faults)
            self._steps[number] = strike
            number += chance.randint(5, 10)
            if heal is not None:
                self._steps[number] = heal
            number += chance.randint(10, 20)

    async def step(self, number: int) -> None:
        if number in self._steps:
            await asyncio.to_thread(self._steps[number])


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_restarted_store_and_killed_instances_lose_nothing(
    instances: Instances, admin: Account, seed: int
) -> None:
    valkey, services = instances
    post = published(admin)
    path = f"/posts/{post['id']}/comments"
    urls = [service.url for service in services]
    # Fewer than a user may have at either instance, also when all of them are at one.
    followers = [Follower(f"post:{post['id']}", admin.access_token, urls) for _ in range(16)]
    for follower in followers[::2]:
        next(follower.urls)
    following = [asyncio.ensure_future(follower.follow()) for follower in followers]
    storm = Storm(seed, valkey, services)
    try:
        async with asyncio.timeout(180):
            while not all(follower.connections for follower in followers):
                await asyncio.sleep(0.05)
            for number in range(COMMENTS):
                await storm.step(number)
                await comment(admin, services, path, number)
            expected = await ids_in_the_database(admin, services[0], path)
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
