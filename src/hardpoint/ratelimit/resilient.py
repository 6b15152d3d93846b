"""What happens while the store of the limits is away: never an outage of the service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from hardpoint.aio import is_wanted, running
from hardpoint.errors import ServiceUnavailable
from hardpoint.log import get_logger
from hardpoint.ratelimit.memory import MemoryLimiter
from hardpoint.ratelimit.rate import Charge, Decision, Limiter, StoreUnavailable

__all__ = ["Breaker", "ResilientLimiter", "StoredLimiter", "open_resilient_limiter"]

logger = get_logger("hardpoint.ratelimit")

_PROBE_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1


class StoredLimiter(Limiter, Protocol):
    """A limiter on a store that can be away."""

    async def ping(self) -> None:
        """Do what a check does.

        Raises:
            StoreUnavailable: The store cannot be used at the moment.
        """


class Breaker:
    """Whether a store is away. The first failure opens it, so that nobody else waits; a probe closes it again.

    Each change is logged once.

    Args:
        probe: Raises `StoreUnavailable` while the store is away.
        sleep: Waits between two probes.

    Attributes:
        is_open: Whether the store is away.
        outages: How often the store has gone away.
        skipped: How many calls were decided without it.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[None]], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._probe = probe
        self._sleep = sleep
        self._opened = asyncio.Event()
        self.is_open = False
        self.outages = 0
        self.skipped = 0

    def open(self, error: StoreUnavailable) -> None:
        """The store has failed with `error`."""
        if not self.is_open:
            self.is_open = True
            self._opened.set()
            self.outages += 1
            logger.error("limiter_store_unavailable", error=type(error.__cause__ or error).__name__)

    async def run(self) -> None:
        """Wait for an outage, probe until the store is back, and so on until cancelled."""
        while is_wanted():
            await self._opened.wait()
            await self._sleep(_PROBE_SECONDS)
            try:
                await self._probe()
            except StoreUnavailable:
                continue  # The outage was logged when it began.
            self.is_open = False
            self._opened.clear()
            logger.warning("limiter_store_recovered", skipped=self.skipped)


class ResilientLimiter:
    """A `Limiter` on a store, and what it does while the store is away; make it with `open_resilient_limiter`.

    Args:
        store: The limiter on the store.
        breaker: Whether the store is away.
        fallback: What counts meanwhile, in this process alone and from nothing, so that a client may get its limit once
            more from each process.
    """

    def __init__(self, store: StoredLimiter, breaker: Breaker, fallback: Limiter) -> None:
        self._store = store
        self.breaker = breaker
        self._fallback = fallback

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise.

        Raises:
            ServiceUnavailable: The store is away, and one of the charges needs it.
        """
        if not self.breaker.is_open:
            try:
                return await self._store.hit(*charges)
            except StoreUnavailable as error:
                self.breaker.open(error)
        self.breaker.skipped += 1
        if any(charge.needs_store for charge in charges):
            raise ServiceUnavailable(retry_after_seconds=_RETRY_SECONDS)
        return await self._fallback.hit(*charges)

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets, in the store and in the fallback; what the store keeps while it is away flows off."""
        await self._fallback.reset(*charges)
        if not self.breaker.is_open:
            try:
                await self._store.reset(*charges)
            except StoreUnavailable as error:
                self.breaker.open(error)


@asynccontextmanager
async def open_resilient_limiter(store: StoredLimiter, *, max_keys: int = 100_000) -> AsyncIterator[ResilientLimiter]:
    """A `ResilientLimiter` that falls back to memory, and whose breaker closes by itself.

    Args:
        store: The limiter on the store, such as a `ValkeyLimiter`.
        max_keys: The most buckets in memory.
    """
    breaker = Breaker(store.ping)
    async with running(breaker.run()):
        yield ResilientLimiter(store, breaker, MemoryLimiter(max_keys=max_keys, is_per_process=True))
