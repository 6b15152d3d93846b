"""Buckets in Valkey or Redis: exact across processes, on the server's clock, several checks in one round trip."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from hardpoint.aio import is_wanted, running
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import Charge, Decision, judge
from hardpoint.valkey import close_client, drop_connections, make_client

__all__ = ["ValkeyLimiter", "open_valkey_limiter"]

_MAX_PLAIN_KEY: Final = 64
_MAX_BATCH: Final = 128

# A bucket is "<microseconds> <debt then>". `judge` in rate.py is the same rule; here only whether all are allowed.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, key, at = {}, 0, 1
while ARGV[at] do
  local count, allowed, group = tonumber(ARGV[at]), true, {}
  at = at + 1
  for i = 1, count do
    local scale, amount, capacity = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local debt, stored = 0, redis.call('GET', KEYS[key + i])
    if stored then
      local written, before = string.match(stored, '^(%d+) (%d+)$')
      -- A clock that was set back must not give anything away.
      debt = math.max(0, tonumber(before) - math.max(0, now - tonumber(written)) * scale)
    end
    if amount > 0 and debt + amount > capacity then allowed = false end
    group[i] = {debt, scale, amount}
    debts[#debts + 1] = debt
    at = at + 3
  end
  if allowed then
    for i = 1, count do
      local debt, scale, amount = group[i][1], group[i][2], group[i][3]
      if amount ~= 0 then
        local after = math.max(0, debt + amount)
        if after == 0 then
          redis.call('DEL', KEYS[key + i])
        else
          local lives = math.ceil(after / scale / 1000) + 1
          redis.call('SET', KEYS[key + i], string.format('%.0f %.0f', now, after), 'PX', lives)
        end
      end
    end
  end
  key = key + count
end
return debts
"""


class ValkeyLimiter:
    """A `Limiter` on Valkey or Redis; make it with `open_valkey_limiter`.

    One batch is on its way at a time: what arrives meanwhile is written together as the next one, so that a busy
    process makes few round trips and needs one connection. It raises what the client raises; `ResilientLimiter` decides
    what then happens.

    In a cluster all buckets must share a slot, and so a node: the prefix has a hash tag.

    Args:
        client: The client; whoever made it closes it.
        prefix: What the keys begin with.
        timeout_seconds: How long a check may take from its arrival, waiting included.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        client: "Redis",
        *,
        prefix: str = "{hardpoint:limit}:",
        timeout_seconds: float = 0.1,
        clock: Clock = monotonic_clock,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._waiting: list[tuple[float, tuple[Charge, ...], asyncio.Future[Decision]]] = []
        self._arrived = asyncio.Event()
        self._sha = ""

    async def hit(self, *charges: Charge) -> Decision:
        """Charge all of `charges` when all are allowed, and none otherwise.

        Raises:
            TimeoutError: The store did not answer in time.
            redis.exceptions.RedisError: It is away, full, or refuses.
        """
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._clock(), charges, future))
        self._arrived.set()
        return await future

    async def reset(self, *charges: Charge) -> None:
        """Forget their buckets."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._client.unlink(*(self._key(charge) for charge in charges))

    async def ping(self) -> None:
        """Raise when the store cannot be used for limits at the moment, writing included."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._client.set(f"{self._prefix}ping", 1, px=1_000)

    async def run(self) -> None:
        """Write batch after batch until cancelled; `open_valkey_limiter` runs it."""
        try:
            while is_wanted():
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                    await self._write(batch)
        finally:
            for _, _, future in self._waiting:
                future.cancel()

    async def _write(self, batch: list[tuple[float, tuple[Charge, ...], asyncio.Future[Decision]]]) -> None:
        alive = [(charges, future) for _, charges, future in batch if not future.done()]
        if not alive:
            return
        remaining = self._timeout_seconds - (self._clock() - batch[0][0])
        try:
            async with asyncio.timeout(max(0.0, remaining)):
                debts = await self._run_script([charges for charges, _ in alive])
        except asyncio.CancelledError:
            for _, future in alive:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each caller gets it.
            # Nothing that waits behind a failure should wait as long again.
            behind, self._waiting = self._waiting, []
            for future in (*(future for _, future in alive), *(future for _, _, future in behind)):
                if not future.done():
                    future.set_exception(error)
                    # A caller that was cancelled meanwhile does not look at it.
                    future.exception()
            await drop_connections(self._client)
            return
        position = 0
        for charges, future in alive:
            decision = judge(charges, debts[position : position + len(charges)])
            position += len(charges)
            if not future.done():
                future.set_result(decision)

    async def _run_script(self, groups: Sequence[tuple[Charge, ...]]) -> list[int]:
        keys = [self._key(charge) for charges in groups for charge in charges]
        arguments: list[int] = []
        for charges in groups:
            arguments.append(len(charges))
            for charge in charges:
                arguments += (charge.rate.scale, charge.amount, charge.rate.capacity)
        client: Any = self._client
        if self._sha:
            try:
                return list(await client.evalsha(self._sha, len(keys), *keys, *arguments))
            except NoScriptError:
                # The store was restarted, or somebody emptied its script cache.
                self._sha = ""
        self._sha = await client.script_load(_SCRIPT)
        return list(await client.evalsha(self._sha, len(keys), *keys, *arguments))

    def _key(self, charge: Charge) -> str:
        key = charge.key
        if len(key) > _MAX_PLAIN_KEY or not key.isascii():
            key = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._prefix}{charge.rate.bucket}:{key}"


@asynccontextmanager
async def open_valkey_limiter(
    url: str, *, prefix: str = "{hardpoint:limit}:", timeout_seconds: float = 0.1
) -> AsyncIterator[ValkeyLimiter]:
    """A `ValkeyLimiter` on a connection of its own, so that no other part can exhaust its pool; see there."""
    client = make_client(
        url, max_connections=2, timeout_seconds=timeout_seconds, connect_timeout_seconds=timeout_seconds
    )
    limiter = ValkeyLimiter(client, prefix=prefix, timeout_seconds=timeout_seconds)
    try:
        async with running(limiter.run()):
            yield limiter
    finally:
        await close_client(client)
