"""One script on one connection to Valkey, for many callers at once."""

import asyncio
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from math import inf
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import InvalidResponse, NoScriptError

from hardpoint.aio import is_wanted, running
from hardpoint.clock import Clock, monotonic_clock
from hardpoint.ratelimit.rate import StoreUnavailable
from hardpoint.valkey import dedicated_connection

__all__ = ["ScriptPipeline"]

# Valkey does nothing else meanwhile: this many checks take it about half a millisecond.
_MAX_BATCH: Final = 128
# Of the time that a call has, this is counted from when the loop comes to look: a loop that was blocked by something
# else finds the answer already there, and must read it before it blames the store.
_LAST_PART_SECONDS: Final = 0.005


class _Call:
    """What one caller asks, and where the answer goes."""

    __slots__ = ("arguments", "deadline", "future", "keys")

    def __init__(
        self, keys: Sequence[str], arguments: Sequence[int], deadline: float, future: asyncio.Future[list[int]]
    ) -> None:
        self.keys = keys
        self.arguments = arguments
        self.deadline = deadline
        self.future = future


class ScriptPipeline:
    """Calls of a script that takes keys and arguments of many callers in a row, and gives an integer for each key.

    What is asked in one tick of the loop is one call and one write, without waiting for the answers to earlier ones; so
    a busy process needs one connection and few system calls. A failure fails every call that waits, and drops the
    connection; the next call makes a new one.

    Args:
        client: The client; whoever made it closes it.
        script: The script, in Lua.
        slot: A key or prefix with the hash tag of all keys: in a cluster they must be on one node.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, client: "Redis", script: str, *, slot: str, clock: Clock = monotonic_clock) -> None:
        self._client = client
        self._slot = slot
        self._script = script
        self._sha = sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._clock = clock
        self._waiting: deque[_Call] = deque()
        self._in_flight: deque[list[_Call]] = deque()
        self._arrived = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._session: asyncio.Task[None] | None = None
        self._is_closed = False

    def call(
        self, keys: Sequence[str], arguments: Sequence[int], *, timeout_seconds: float
    ) -> asyncio.Future[list[int]]:
        """What the script will give for `keys`; it raises `StoreUnavailable` when there is no answer, or none in time.

        Args:
            keys: One or more.
            arguments: What the script takes for them.
            timeout_seconds: How long it may take, connecting and waiting included.

        Raises:
            StoreUnavailable: Nobody answers any more.
        """
        if self._is_closed:
            raise StoreUnavailable("The limiter is closed")
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        deadline = self._clock() + timeout_seconds
        self._waiting.append(_Call(keys, arguments, deadline, future))
        self._arrived.set()
        if deadline < self._alarm_at:
            # One timer for all: as long as the store answers it finds nothing overdue, ten times a second.
            self._set_alarm(deadline)
        return future

    async def run(self) -> None:
        """Answer calls until cancelled."""
        try:
            while is_wanted():
                await self._arrived.wait()
                async with asyncio.TaskGroup() as group:
                    self._session = group.create_task(self._serve())
        finally:
            self._is_closed = True
            self._stop_alarm()
            self._fail(ConnectionError("The limiter is closed"))

    async def _serve(self) -> None:
        """Answer calls on one connection, for as long as it holds."""
        try:
            async with dedicated_connection(self._client, self._slot) as connection:
                # Calls have time-outs of their own. With the client's a write is a task, which another could overtake.
                connection.socket_timeout = None
                async with running(self._write(connection)):
                    await self._read(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must not wait.
            self._fail(error)

    async def _write(self, connection: Any) -> None:
        while is_wanted():
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch: list[_Call] = []
                while self._waiting and len(batch) < _MAX_BATCH:
                    call = self._waiting.popleft()
                    # Of a caller that has been cancelled meanwhile nothing is asked.
                    if not call.future.done():
                        batch.append(call)
                if batch:
                    await self._send(connection, batch, "EVALSHA", self._sha)

    async def _send(self, connection: Any, batch: list[_Call], command: str, script: str) -> None:
        keys = [key for call in batch for key in call.keys]
        arguments = [number for call in batch for number in call.arguments]
        self._in_flight.append(batch)
        # The connection's own way to pack is written in Python and takes 5 microseconds for each check.
        parts: Any = (command, script, len(keys), *keys, *arguments)  # Its annotation knows a tuple of one alone.
        packed = pack_command(parts)
        await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: Any) -> None:
        while is_wanted():
            try:
                reply = await connection.read_response(timeout=inf)
            except NoScriptError:
                # The store was restarted, or somebody emptied its script cache. EVAL fills it again.
                await self._send(connection, self._in_flight.popleft(), "EVAL", self._script)
                continue
            except StoreConnectionError:
                if not self._in_flight:
                    return  # Closed while nobody waited, as servers do with idle connections.
                raise
            self._answer(reply)

    def _answer(self, reply: object) -> None:
        batch = self._in_flight[0]
        expected = sum([len(call.keys) for call in batch])
        if not isinstance(reply, list) or len(reply) != expected or set(map(type, reply)) != {int}:
            raise InvalidResponse("The script gave something else than integers")
        self._in_flight.popleft()
        place = 0
        for call in batch:
            end = place + len(call.keys)
            if not call.future.done():
                call.future.set_result(reply[place:end])
            place = end

    def _set_alarm(self, moment: float, suspect: _Call | None = None) -> None:
        self._stop_alarm()
        self._alarm_at = moment
        self._alarm = asyncio.get_running_loop().call_later(moment - self._clock(), self._look, suspect)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, inf

    def _look(self, suspect: _Call | None) -> None:
        """Whether a call is overdue, which was the most urgent one when the alarm was set."""
        self._stop_alarm()
        urgent = min(self._unanswered(), key=lambda call: call.deadline, default=None)
        if urgent is None:
            return
        if urgent is suspect:
            self._fail(TimeoutError("The store did not answer in time"))
            if self._session is not None:
                self._session.cancel()
                self._session = None
            return
        now = self._clock()
        if urgent.deadline - _LAST_PART_SECONDS > now:
            self._set_alarm(urgent.deadline - _LAST_PART_SECONDS)
        else:
            self._set_alarm(now + _LAST_PART_SECONDS, urgent)

    def _unanswered(self) -> list[_Call]:
        calls = [*(call for batch in self._in_flight for call in batch), *self._waiting]
        return [call for call in calls if not call.future.done()]

    def _fail(self, error: Exception) -> None:
        calls = self._unanswered()
        self._in_flight.clear()
        self._waiting.clear()
        self._arrived.clear()
        for call in calls:
            failure = StoreUnavailable(str(error))
            failure.__cause__ = error
            call.future.set_exception(failure)
            # A caller that is cancelled at this moment does not look at it.
            call.future.exception()
