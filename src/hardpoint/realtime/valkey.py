"""Channels over Valkey or Redis: one history for all processes, and one subscription connection for each of them."""

import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis

from hardpoint.broadcast import Broadcast
from hardpoint.cluster import CLUSTER_SCHEMES
from hardpoint.errors import ServiceUnavailable
from hardpoint.realtime.store import Entry, History, Missed
from hardpoint.sentinel import SENTINEL_SCHEMES
from hardpoint.valkey import ValkeyUnavailable, close_client, make_client

__all__ = ["ValkeyChannels", "open_valkey_channels"]

_KEY_SECONDS: Final = 86_400
_PRESENT_SECONDS: Final = 30
_MEMBERS_AT_ONCE: Final = 500
# A channel's end outlives its messages by this much, so that who missed nothing is told so.
_END_SECONDS: Final = 86_400

# Strings of digits, not Lua's numbers: those are written with an exponent from 2^53 on, and INCR counts exactly.
_BEGIN: Final = """
local function begin(may_roll_back, server)
  if may_roll_back == '1' then
    local id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    if redis.call('GET', server) ~= id then
      redis.call('SET', server, id, 'EX', ARGV[1])
      redis.call('DEL', KEYS[1], KEYS[2])
    end
  end
  local time = redis.call('TIME')
  return redis.call('SET', KEYS[1], time[1] .. string.format('%06d', time[2]), 'NX', 'EX', ARGV[1])
end
"""
# The message is stored and published in one step, so whoever subscribes and then reads misses nothing.
_PUBLISH: Final = (
    _BEGIN
    + """
if ARGV[6] ~= '' then
  local known = redis.call('GET', KEYS[3])
  if known then return known end
end
begin(ARGV[8], KEYS[4])
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[4], ARGV[1])
local offset = redis.call('GET', KEYS[1])
if tonumber(ARGV[4]) > 0 then
  local now = redis.call('TIME')[1]
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], offset .. '-0', 't', now, 'd', ARGV[3], 'o', ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  while true do
    local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if not oldest or (now - oldest[2][2]) * 1000 <= tonumber(ARGV[5]) then break end
    redis.call('XDEL', KEYS[2], oldest[1])
  end
else
  -- What is left of a longer history would have a gap after it, and who asks from before that would not be told.
  redis.call('DEL', KEYS[2])
end
if ARGV[6] ~= '' then redis.call('SET', KEYS[3], offset, 'EX', ARGV[6]) end
redis.call('PUBLISH', ARGV[2], offset .. ' ' .. ARGV[7] .. ' ' .. ARGV[3])
return offset
"""
)
_READ: Final = (
    _BEGIN
    + """
local new = begin(ARGV[3], KEYS[3])
local last = redis.call('GET', KEYS[1])
if new or ARGV[2] == '' then return {last, 0} end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local since, kept_from = tonumber(ARGV[2]), tonumber(last)
if oldest then kept_from = tonumber(string.match(oldest[1], '^(%d+)')) - 1 end
if since < kept_from or since > tonumber(last) then return {last, 0} end
return {last, 1, redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', '+')}
"""
)

# By the store's clock, which all processes share. Members of a killed process would otherwise stay for as long as
# anybody is present.
_ENTER: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for place = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[place]) end
redis.call('EXPIRE', KEYS[1], ARGV[1] * 2)
"""
_PRESENT: Final = """
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. redis.call('TIME')[1], '+inf')
"""


class ValkeyChannels:
    """A `ChannelStore` on Valkey or Redis; make it with `open_valkey_channels`.

    Histories live as long as the store's memory: with everything on disk (`appendonly yes`, `appendfsync always`) they
    survive its restart; with nothing on disk, clients are told that they missed something. In between, and when a
    replica takes over, a store comes back without its last moments and would give their offsets to other messages: say
    so by `may_roll_back`, and its clients are told that they missed something whenever another process of the store
    answers. A channel's keys share a hash tag, as a cluster needs.

    Args:
        client: For commands; whoever made it closes it.
        broadcast: Carries the messages between processes; on the same store, with the same prefix.
        prefix: What keys and the store's channels begin with.
        may_roll_back: Whether the store may come back with some of its memory, and not all.
    """

    def __init__(
        self, client: "Redis", broadcast: Broadcast, *, prefix: str = "hardpoint:", may_roll_back: bool = False
    ) -> None:
        self._client = client
        self._broadcast = broadcast
        self._prefix = prefix
        self._may_roll_back = "1" if may_roll_back else ""
        self._instance = secrets.token_hex(6)
        self._publish = client.register_script(_PUBLISH)
        self._read = client.register_script(_READ)
        self._enter = client.register_script(_ENTER)
        self._present = client.register_script(_PRESENT)
        self._listening: dict[tuple[str, Callable[[Entry], None]], Callable[[bytes], None]] = {}

    def _keys(self, channel: str) -> list[str]:
        base = f"{self._prefix}channel:{{{channel}}}"
        return [base, f"{base}:history", f"{base}:server"]

    async def publish(
        self, channel: str, data: bytes, *, history: History, key: str | None = None, origin: bytes = b""
    ) -> int:
        """Append a message and tell every subscriber; its offset. With a `key` that was used before, the former's.

        A key is remembered for a day.

        Raises:
            ServiceUnavailable: The store is away, slow, full or refuses. The message may have been published all the
                same: with a `key`, try again.
        """
        arguments = [
            int(history.seconds) + _END_SECONDS,
            f"{self._prefix}ch:{channel}",
            data,
            history.count,
            max(1, int(history.seconds * 1_000)),
            "" if key is None else _KEY_SECONDS,
            origin,
            self._may_roll_back,
        ]
        end, history_key, server = self._keys(channel)
        keys = [end, history_key, f"{end}:key:{key}", server]
        return int(await self._run(self._publish, keys, arguments))

    async def read(self, channel: str, since: int | None) -> Missed:
        """What came after `since`; with `None` the channel's end alone.

        Raises:
            ServiceUnavailable: The store is away, slow, full or refuses.
        """
        arguments = [_END_SECONDS, "" if since is None else since, self._may_roll_back]
        end, recovered, *found = await self._run(self._read, self._keys(channel), arguments)
        entries = [
            Entry(int(place.partition(b"-")[0]), fields[3], fields[5]) for place, fields in (found[0] if found else ())
        ]
        return Missed(recovered=bool(recovered), end=int(end), entries=entries)

    async def _run(self, script: Any, keys: list[str], arguments: list[Any]) -> Any:
        try:
            return await script(keys=keys, args=arguments)
        except ValkeyUnavailable as error:
            raise ServiceUnavailable("Channels are not available") from error

    async def subscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Call `receiver` with each message from now on. Some may be lost; `on_gap` and the offsets tell."""

        def receive(message: bytes) -> None:
            offset, origin, data = message.split(b" ", 2)
            receiver(Entry(int(offset), data, origin))

        # Whoever was cancelled while it waited here is subscribed all the same, and would be twice.
        await self.unsubscribe(channel, receiver)
        self._listening[channel, receiver] = receive
        await self._broadcast.subscribe(f"ch:{channel}", receive)

    async def unsubscribe(self, channel: str, receiver: Callable[[Entry], None]) -> None:
        """Stop; one that is not subscribed is no error."""
        receive = self._listening.pop((channel, receiver), None)
        if receive is not None:
            await self._broadcast.unsubscribe(f"ch:{channel}", receive)

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever messages may have been missed."""
        self._broadcast.on_gap(callback)

    async def enter(self, members: Collection[tuple[str, str]]) -> None:
        """Say that each (channel, member) is present in this process, for the next half a minute."""
        by_channel: dict[str, list[str]] = {}
        for channel, member in members:
            by_channel.setdefault(channel, []).append(f"{self._instance} {member}")
        for channel, entered in by_channel.items():
            for start in range(0, len(entered), _MEMBERS_AT_ONCE):
                some = entered[start : start + _MEMBERS_AT_ONCE]
                await self._run(self._enter, [self._present_key(channel)], [_PRESENT_SECONDS, *some])

    async def leave(self, channel: str, member: str) -> None:
        """Say that `member` has left, as far as this process knows."""
        try:
            await self._client.zrem(self._present_key(channel), f"{self._instance} {member}")
        except ValkeyUnavailable as error:
            raise ServiceUnavailable("Channels are not available") from error

    async def present(self, channel: str) -> list[str]:
        """Who is present, in every process, sorted."""
        found: list[bytes] = await self._run(self._present, [self._present_key(channel)], [])
        return sorted({member.decode().partition(" ")[2] for member in found})

    def _present_key(self, channel: str) -> str:
        return f"{self._prefix}channel:{{{channel}}}:present"


@asynccontextmanager
async def open_valkey_channels(
    url: str, broadcast: Broadcast, *, prefix: str = "hardpoint:", may_roll_back: bool | None = None
) -> AsyncIterator[ValkeyChannels]:
    """A `ValkeyChannels` with a connection pool of its own; see there for the arguments.

    Behind Sentinel and in a cluster, where a replica may take over, `may_roll_back` is true unless it is said here.
    """
    scheme = url.partition("://")[0]
    has_replicas = scheme in SENTINEL_SCHEMES or scheme in CLUSTER_SCHEMES
    client = make_client(url)
    try:
        yield ValkeyChannels(
            client, broadcast, prefix=prefix, may_roll_back=has_replicas if may_roll_back is None else may_roll_back
        )
    finally:
        await close_client(client)
