"""Buckets in Valkey or Redis: exact across processes, on the server's clock, several checks in one round trip."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

from redis.asyncio import Redis

from hardpoint.aio import running
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.pipeline import ScriptPipeline
from hardpoint.ratelimit.rate import Charge, Decision, Rate, StoreUnavailable, judge
from hardpoint.valkey import close_client, make_client

__all__ = ["ValkeyLimiter", "open_valkey_limiter"]

# A probe may take longer than a check: nobody waits for it, and it may have to connect, over TLS, from far away.
_PROBE_SECONDS: Final = 1.0
_PROBE: Final = Charge(Rate(1_000_000, 1, name="probe"), "probe")

# A bucket is "<microseconds> <debt then>". `judge` in rate.py is the same rule; here only whether all are allowed.
# Each group of arguments is a number of keys and then for each of them the scale, the amount and the capacity.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function keep(key, debt, scale)
  if debt == 0 then
    redis.call('DEL', key)
  else
    local lives = math.ceil(debt / scale / 1000) + 1
    redis.call('SET', key, string.format('%.0f %.0f', now, debt), 'PX', lives)
  end
end

local debts, key, at = {}, 0, 1
while ARGV[at] do
  local count, allowed, group = tonumber(ARGV[at]), true, {}
  at = at + 1
  for i = 1, count do
    local scale, amount, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local debt, written, before = 0, string.match(redis.call('GET', KEYS[key + i]) or '', '^(%d+) (%d+)$')
    if written then
      local passed = now - tonumber(written)
      debt = math.max(0, tonumber(before) - math.max(0, passed) * scale)
      -- A clock that was set back gives nothing away, and flows on from here instead of when it is where it was.
      if passed < 0 then keep(KEYS[key + i], debt, scale) end
    end
    if amount > 0 and debt + amount > capacity then allowed = false end
    group[i] = {debt, scale, amount}
    debts[#debts + 1] = debt
    at = at + 3
  end
  if allowed then
    for i = 1, count do
      local debt, scale, amount = group[i][1], group[i][2], group[i][3]
      if amount ~= 0 then keep(KEYS[key + i], math.max(0, debt + amount), scale) end
    end
  end
  key = key + count
end
return debts
"""


class ValkeyLimiter:
    """A `Limiter` on Valkey or Redis; make it with `open_valkey_limiter`.

    The checks that arrive in one tick of the loop are one call of one script, on a connection that nothing else uses.
    `ResilientLimiter` decides what happens when there is no answer.

    In a cluster all buckets must share a slot, and so a node: the prefix has a hash tag.

    Args:
        client: The client; whoever made it closes it.
        prefix: What the keys begin with.
        timeout_seconds: How long a check may take from its arrival, waiting and connecting included.
        clock: A monotonic clock, in seconds, for the time-out; buckets are on the server's.
    """

    def __init__(
        self,
        client: "Redis",
        *,
        prefix: str = "{hardpoint:limit}:",
        timeout_seconds: float = 0.1,
        clock: Clock = monotonic_clock,
    ) -> None:
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._pipeline = ScriptPipeline(client, _SCRIPT, slot=prefix, clock=clock)

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise.

        Raises:
            StoreUnavailable: The store is away, full, refuses, or did not answer in time.
        """
        return judge(charges, await self._ask(charges, self._timeout_seconds))

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets.

        Raises:
            StoreUnavailable: As above.
        """
        # All that a bucket can hold is given back, and one that holds nothing is deleted. A command of its own would
        # need a second connection, and to make that may take longer than a check may.
        await self._ask([replace(charge, cost=-charge.rate.burst) for charge in charges], self._timeout_seconds)

    async def ping(self) -> None:
        """Do what a check does, and connect for the next one.

        Raises:
            StoreUnavailable: As above.
        """
        await self._ask([_PROBE], max(_PROBE_SECONDS, self._timeout_seconds))

    async def run(self) -> None:
        """Answer checks until cancelled; `open_valkey_limiter` runs it."""
        await self._pipeline.run()

    def _ask(self, charges: Sequence[Charge], timeout_seconds: float) -> asyncio.Future[list[int]]:
        if not charges:
            raise ValueError("Name at least one charge")
        arguments = [len(charges)]
        for charge in charges:
            arguments += (charge.rate.scale, charge.amount, charge.rate.capacity)
        names = [self._prefix + charge.bucket for charge in charges]
        return self._pipeline.call(names, arguments, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def open_valkey_limiter(
    url: str, *, prefix: str = "{hardpoint:limit}:", timeout_seconds: float = 0.1
) -> AsyncIterator[ValkeyLimiter]:
    """A `ValkeyLimiter` on a connection of its own, so that no other part can exhaust its pool; see there.

    It begins to connect before the first check needs it. A store that is away is no error here.

    Args:
        url: As for `hardpoint.valkey.make_client`.
        prefix: What the keys begin with.
        timeout_seconds: How long a check may take from its arrival.

    Raises:
        ValueError: The URL cannot be read.
    """
    # The limiter has a time-out of its own for each check; the client's would cost 20 microseconds a write.
    client = make_client(url, max_connections=2, timeout_seconds=None, connect_timeout_seconds=_PROBE_SECONDS)
    limiter = ValkeyLimiter(client, prefix=prefix, timeout_seconds=timeout_seconds)
    try:
        async with running(limiter.run()):
            with suppress(StoreUnavailable):
                await limiter.ping()
            yield limiter
    finally:
        await close_client(client)
