"""Server-sent events, over real connections."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock, patch

import httpx2
import pytest

from hardpoint.lifespan import Drain
from hardpoint.realtime import hub, sse
from realtime.serving import Bench, serving
from support.asgi import logged

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": "Bearer 1/s"}


class Events:
    """A stream that is read event by event."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments = 0

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event's id and data."""
        place = ""
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith("id: "):
                    place = line[4:]
                elif line.startswith("data: "):
                    return place, json.loads(line[6:])
                elif line.startswith(":"):
                    self.comments += 1
        raise EOFError


@asynccontextmanager
async def events(
    bench: Bench, *channels: str, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[Events]:
    async with httpx2.AsyncClient(base_url=bench.url, headers=HEADERS if headers is None else headers) as client:
        parameters = [("channel", channel) for channel in channels] + list(query.items())
        async with client.stream("GET", "/events", params=parameters) as response:
            yield Events(response)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as served:
        yield served


async def test_messages_are_events_in_order(bench: Bench) -> None:
    async with events(bench, "news", "item:5") as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        assert [(await stream.next())[1]["type"] for _ in range(2)] == ["subscribed"] * 2
        for number in range(20):
            await bench.hub.publish("news", f"line\nbreak {number}")
            await bench.hub.publish("item:5", number)
        received = [(await stream.next())[1] for _ in range(40)]
        assert [event["data"] for event in received if event["channel"] == "item:5"] == list(range(20))
        assert received[0]["data"] == "line\nbreak 0"
    await bench.until(lambda: bench.hub.connections == 0)
    assert bench.hub.subscriptions == 0


async def test_what_was_missed_comes_first_in_every_channel(bench: Bench) -> None:
    async with events(bench, "news", "item:5") as stream:
        for _ in range(2):
            await stream.next()
        await bench.hub.publish("item:5", 0)
        place, _ = await stream.next()
    await bench.until(lambda: bench.hub.connections == 0)
    for number in range(1, 100):
        await bench.hub.publish("item:5", number)
        await bench.hub.publish("news", number)
    async with events(bench, "news", "item:5", headers={**HEADERS, "Last-Event-ID": place}) as stream:
        received = [(await stream.next())[1] for _ in range(200)]
        assert all(event["recovered"] for event in received if event["type"] == "subscribed")
        for channel in ("news", "item:5"):
            data = [event.get("data") for event in received if event["channel"] == channel]
            assert data == [None, *range(1, 100)]


@pytest.mark.parametrize("place", ["", "news", "news=x", "news=-1", "news=99999999999999999999", "%ff=1", "=" * 9_000])
async def test_a_place_that_is_none_starts_at_the_end(bench: Bench, place: str) -> None:
    async with events(bench, "news", headers={**HEADERS, "Last-Event-ID": place}) as stream:
        assert (await stream.next())[1]["recovered"] is False


@pytest.mark.parametrize(
    ("channels", "headers", "status"),
    [
        (["news"], {}, 401),
        (["news"], {"Authorization": "Bearer bad"}, 401),
        (["news", "staff"], HEADERS, 404),
        (["item:x"], HEADERS, 422),
        ([], HEADERS, 422),
        (["news"] * 21, HEADERS, 422),
    ],
    ids=["nobody", "bad", "forbidden", "invalid", "none", "many"],
)
async def test_what_is_refused_is_refused_before_it_begins(
    bench: Bench, channels: list[str], headers: dict[str, str], status: int
) -> None:
    async with events(bench, *channels, headers=headers) as stream:
        assert stream.response.status_code == status
        assert "code" in json.loads(await stream.response.aread())
    assert bench.hub.connections == bench.hub.subscriptions == 0


async def test_a_token_in_the_query(bench: Bench) -> None:
    async with events(bench, "user", headers={}, token="9/s") as stream:
        assert (await stream.next())[1]["channel"] == "user:9"


async def test_too_many_streams_of_a_user_are_refused() -> None:
    async with serving(max_connections=1) as bench, events(bench, "news") as first:
        await first.next()
        async with events(bench, "news") as second:
            assert second.response.status_code == 429
            assert int(second.response.headers["retry-after"]) >= 1


async def test_a_revoked_session_and_a_restart_end_the_stream() -> None:
    drain = Drain(delay_seconds=0)
    async with serving(drain=drain) as bench, events(bench, "news") as ours:
        async with events(bench, "news", headers={"Authorization": "Bearer 2/t"}) as other:
            await ours.next()
            await other.next()
            del bench.users.rights_of["t"]
            with pytest.raises(EOFError):
                await other.next()
        drain.start()
        with pytest.raises(EOFError):
            await ours.next()
        async with events(bench, "news") as late:
            assert late.response.status_code == 503


async def test_a_quiet_stream_shows_that_it_lives(bench: Bench) -> None:
    with patch.object(sse, "_BEAT_SECONDS", 0.01):
        async with events(bench, "news") as stream:
            await stream.next()
            waiting = asyncio.ensure_future(stream.next())
            await bench.until(lambda: stream.comments > 2)
            await bench.hub.publish("news", 1)
            assert (await waiting)[1]["data"] == 1


async def test_a_slow_reader_is_given_up_and_delays_nobody() -> None:
    limits = {"max_waiting_messages": 20, "max_waiting_characters": 1_000_000, "closing_seconds": 0.2}
    async with serving(**limits) as bench, events(bench, "news") as fast, slow_reader(bench):
        await fast.next()
        await bench.until(lambda: bench.hub.connections == 2)
        number = 0
        with logged("hardpoint.realtime") as records:
            while bench.hub.closings[4008] == 0:
                await bench.hub.publish("news", [number, "x" * 30_000])
                assert (await fast.next())[1]["data"][0] == number
                number += 1
            await bench.until(lambda: bench.hub.connections == 1)
            assert len(records.fields("stream_abandoned")) == 1


async def test_too_much_at_once_waits_for_nobody() -> None:
    async with serving(max_waiting_characters=100_000, closing_seconds=0.2) as bench, slow_reader(bench):
        await bench.until(lambda: bench.hub.connections == 1)
        for _ in range(200):
            await bench.hub.publish("news", "x" * 50_000)
            await asyncio.sleep(0)
        assert bench.hub.closings == {4008: 1}


async def test_who_stalls_is_closed_when_nothing_more_comes() -> None:
    async with serving(stalled_seconds=0, closing_seconds=0.1) as bench, slow_reader(bench):
        await bench.until(lambda: bench.hub.connections == 1)
        (peer,) = bench.hub.peers
        while peer.blocked_since is None:
            await bench.hub.publish("news", "x" * 50_000)
            await asyncio.sleep(0)
        await bench.until(lambda: bench.hub.closings == {4008: 1})
        await bench.until(lambda: bench.hub.connections == 0)


@asynccontextmanager
async def slow_reader(bench: Bench) -> AsyncIterator[None]:
    """A stream that nobody reads."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", httpx2.URL(bench.url).port))
        await loop.sock_sendall(raw, b"GET /events?channel=news&token=2/t HTTP/1.1\r\nHost: x\r\n\r\n")
        yield


async def test_a_client_that_leaves_before_its_turn_to_be_closed_is_not_closed_again() -> None:
    drain = Drain()
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with serving(drain=drain) as bench:
        async with events(bench, "news") as stream:
            await stream.next()
            with patch.object(hub, "_random", Mock(uniform=lambda _, longest: longest)):
                bench.hub.drain()
        await bench.until(lambda: bench.hub.connections == 0)
        await asyncio.sleep(0.4)
        assert not failures
        assert not bench.hub.closings
        assert drain.in_flight == 0
