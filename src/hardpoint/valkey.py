"""Connections to Valkey or Redis, with the time-outs that a service needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import RedisClusterException, RedisError

from hardpoint.cluster import CLUSTER_SCHEMES, parse_cluster_url
from hardpoint.sentinel import SENTINEL_SCHEMES, parse_sentinel_url

__all__ = [
    "ValkeyUnavailable",
    "close_client",
    "dedicated_connection",
    "find_node",
    "make_client",
]

# Asking for the cluster's nodes takes one of its own.
_LEAST_IN_CLUSTER: Final = 4

ValkeyUnavailable = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What a command raises when the store is away, slow, full or refuses."""


def make_client(
    url: str,
    *,
    max_connections: int = 20,
    pool_timeout_seconds: float = 0.5,
    timeout_seconds: float | None = 1.0,
    connect_timeout_seconds: float = 1.0,
    **options: Any,
) -> "Redis":
    """A client for `url`; nothing connects yet. Whoever calls closes it with `close_client`.

    It waits for a free connection instead of failing at once when all are busy, and never repeats a command by itself:
    one whose answer was lost may have been done.

    Behind Sentinel, each new connection asks for the primary of the moment; after a failover the old ones are closed.

    In a cluster it is redis-py's `RedisCluster`, which has the same commands and no `connection_pool`. The limit is
    of each node, and when all of its connections are busy a command fails at once. The keys of one command or script
    must share a hash tag.

    Args:
        url: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`,
            `valkey+sentinel://[user:password@]host[:port],host[:port]/service[/database]`, or
            `valkey+cluster://[user:password@]host[:port],host[:port]`.
        max_connections: The most connections.
        pool_timeout_seconds: How long to wait for a free one.
        timeout_seconds: How long a command may take; `None` for ever, for subscriptions.
        connect_timeout_seconds: How long connecting may take.
        **options: More for the connections.

    Raises:
        ValueError: The URL cannot be read, or sets what connections do not have.
    """
    scheme, _, rest = url.partition("://")
    limits: dict[str, Any] = {
        "max_connections": max_connections,
        "timeout": pool_timeout_seconds,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": connect_timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }
    if scheme in CLUSTER_SCHEMES:
        return _cluster(url, {**limits, "max_connections": max(max_connections, _LEAST_IN_CLUSTER)})
    if scheme in SENTINEL_SCHEMES:
        return Redis.from_pool(_sentinel_pool(url, connect_timeout_seconds, limits))
    known = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    address: dict[str, Any] = dict(parse_url(f"{known}://{rest}"))
    # What this package decides, or relies on: the library would name one as an argument given twice, or give texts.
    refused = sorted(address.keys() & {*limits, "decode_responses"})
    if refused:
        raise ValueError(f"The URL must not set {', '.join(refused)}")
    kind = address.pop("connection_class", Connection)
    pool: Any = BlockingConnectionPool(connection_class=_KINDS[kind], **limits, **address)
    try:
        # Nothing is connected; but an option that no connection has would end the first one.
        pool.make_connection()
    except TypeError as error:
        option = str(error).rpartition("argument ")[2]
        raise ValueError(f"The URL must not set {option}, which no connection has") from error
    return Redis.from_pool(pool)


async def close_client(client: "Redis") -> None:
    """Close the connections, those that the store does not answer on too, which the library raises an error for."""
    with suppress(*ValkeyUnavailable):
        await client.aclose()


async def find_node(client: "Redis", channel: str) -> None:
    """Find out which node of a cluster has `channel` now: subscribing does not ask. Nothing for a single server.

    Raises:
        redis.exceptions.RedisError: No node answers, or none has it.
    """
    of_any_kind: Any = client
    if isinstance(of_any_kind, RedisCluster):
        await of_any_kind.initialize()
        await of_any_kind.nodes_manager.initialize()
        of_any_kind.get_node_from_key(channel)


@asynccontextmanager
async def dedicated_connection(client: "Redis", key: str) -> AsyncIterator[Any]:
    """A connection that nobody else uses meanwhile, in a cluster to the node that has `key`; then it is closed.

    Raises:
        redis.exceptions.RedisError: There is none.
    """
    of_any_kind: Any = client
    if isinstance(of_any_kind, RedisCluster):
        await find_node(client, key)
        node: Any = of_any_kind.get_node_from_key(key)
        connection = node.acquire_connection()
        try:
            await connection.connect()
            yield connection
        finally:
            await _drop(connection)
            node.release(connection)
    else:
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        try:
            yield connection
        finally:
            await _drop(connection)
            await pool.release(connection)


async def _drop(connection: Any) -> None:
    # What cannot be closed in order, because nothing answers on it, is closed all the same.
    with suppress(*ValkeyUnavailable):
        await connection.disconnect(nowait=True)


class _Sending:
    """Says of a connection that has just been reset what the library says of any other that is gone.

    uvloop refuses to write to a closed transport with a `RuntimeError`, where asyncio's own loop only warns, and the
    library lets that pass. It would be taken for a fault in the code, and end whatever does not expect one.
    """

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Send a command."""
        try:
            await super().send_packed_command(*args, **kwargs)  # type: ignore[misc] # Of the class that this is mixed into.
        except RuntimeError as error:
            raise ValkeyConnectionError("The connection is closed") from error


class _Connection(_Sending, Connection): ...


class _SSLConnection(_Sending, SSLConnection): ...


class _UnixConnection(_Sending, UnixDomainSocketConnection): ...


class _SentinelConnection(_Sending, SentinelManagedConnection): ...


class _SentinelSSLConnection(_Sending, SentinelManagedSSLConnection): ...


_KINDS: Final[dict[Any, Any]] = {
    Connection: _Connection,
    SSLConnection: _SSLConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


def _cluster(url: str, limits: dict[str, Any]) -> "Redis":
    address = parse_cluster_url(url)
    # Its pools do not wait.
    del limits["timeout"]
    cluster: Any = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        username=address.username,
        password=address.password,
        ssl=address.tls,
        # What the others have can be used while one is away, if the servers allow it.
        require_full_coverage=False,
        **limits,
    )
    kind = _SSLConnection if address.tls else _Connection
    # It lets nobody choose the class, and gives these to the nodes that it learns of.
    cluster.connection_kwargs["connection_class"] = kind
    for node in cluster.startup_nodes:
        node.connection_class = kind
    return cast("Redis", cluster)


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A pool that asks sentinels for the primary, and waits for a free connection."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's.
        """Close the connections, those to the sentinels too."""
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()


def _sentinel_pool(url: str, timeout_seconds: float, limits: dict[str, Any]) -> _SentinelPool:
    address = parse_sentinel_url(url)
    # Nobody is asked twice: there are other sentinels.
    asking: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(list(address.sentinels), sentinel_kwargs=asking)  # type: ignore[no-untyped-call] # It has none.
    kind = _SentinelSSLConnection if address.tls else _SentinelConnection
    limits |= {"connection_class": kind, "db": address.database}
    limits |= {"username": address.username, "password": address.password}
    return _SentinelPool(address.service, sentinel, **limits)  # type: ignore[no-untyped-call] # It has none.
