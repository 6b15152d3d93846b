"""What processes share: over Valkey or Redis where the settings name one, and otherwise each process has its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hardpoint.broadcast import Broadcast, MemoryBroadcast
from hardpoint.broadcast.valkey import open_valkey_broadcast
from hardpoint.metrics import MeteredLimiter, Metrics
from hardpoint.ratelimit import Limiter, MemoryLimiter, open_resilient_limiter, warn_of_several
from hardpoint.ratelimit.valkey import open_valkey_limiter

from hardpoint.service.settings import Settings

__all__ = ["open_broadcast", "open_limiter"]


@asynccontextmanager
async def open_limiter(settings: Settings, metrics: Metrics) -> AsyncIterator[Limiter]:
    """Limits that hold across processes, and go on while the store is away."""
    if settings.redis_url is None:
        warn_of_several(remedy=f"set {settings.variable('redis_url')}")
        yield MeteredLimiter(MemoryLimiter(is_per_process=True), metrics)
        return
    async with (
        open_valkey_limiter(settings.redis_url.get_secret_value()) as store,
        open_resilient_limiter(store) as limiter,
    ):
        yield MeteredLimiter(limiter, metrics)


@asynccontextmanager
async def open_broadcast(settings: Settings) -> AsyncIterator[Broadcast]:
    """What tells the other processes of what has changed."""
    if settings.redis_url is None:
        yield MemoryBroadcast()
        return
    async with open_valkey_broadcast(settings.redis_url.get_secret_value()) as broadcast:
        yield broadcast
