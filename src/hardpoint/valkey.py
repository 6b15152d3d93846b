"""Connections to Valkey or Redis, with the time-outs that a service needs."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["ValkeyUnavailable", "make_client"]

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
    """A client for `url`; nothing connects yet. Whoever calls closes it with `aclose()`.

    It waits for a free connection instead of failing at once when all are busy, and never repeats a command by itself:
    one whose answer was lost may have been done.

    Args:
        url: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`.
        max_connections: The most connections.
        pool_timeout_seconds: How long to wait for a free one.
        timeout_seconds: How long a command may take; `None` for ever, for subscriptions.
        connect_timeout_seconds: How long connecting may take.
        **options: More for the connections.
    """
    scheme, _, rest = url.partition("://")
    known = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    pool = BlockingConnectionPool.from_url(
        f"{known}://{rest}",
        max_connections=max_connections,
        timeout=pool_timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=connect_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return Redis.from_pool(pool)
