"""Connections to Valkey or Redis, with the time-outs that a service needs."""

from contextlib import suppress
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
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
from redis.exceptions import RedisError

from hardpoint.sentinel import SENTINEL_SCHEMES, parse_sentinel_url

__all__ = ["ValkeyUnavailable", "close_client", "make_client"]

ValkeyUnavailable = (RedisError, OSError, TimeoutError)
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
    A cluster is not supported: its client has no publish and subscribe in asyncio, which channels need.

    Args:
        url: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`, or
            `valkey+sentinel://[user:password@]host[:port],host[:port]/service[/database]`.
        max_connections: The most connections.
        pool_timeout_seconds: How long to wait for a free one.
        timeout_seconds: How long a command may take; `None` for ever, for subscriptions.
        connect_timeout_seconds: How long connecting may take.
        **options: More for the connections.

    Raises:
        ValueError: The URL cannot be read.
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
    if scheme in SENTINEL_SCHEMES:
        return Redis.from_pool(_sentinel_pool(url, connect_timeout_seconds, limits))
    known = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    address: dict[str, Any] = dict(parse_url(f"{known}://{rest}"))
    kind = address.pop("connection_class", Connection)
    return Redis.from_pool(BlockingConnectionPool(connection_class=_KINDS[kind], **limits, **address))


async def close_client(client: "Redis") -> None:
    """Close the connections, those that the store does not answer on too, which the library raises an error for."""
    with suppress(*ValkeyUnavailable):
        await client.aclose()


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
