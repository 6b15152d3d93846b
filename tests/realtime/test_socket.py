"""The socket, over real connections, with users that a test makes up."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
from starlette.requests import HTTPConnection
from websockets import InvalidStatus

from hardpoint import context
from hardpoint.errors import NotFound
from hardpoint.lifespan import Drain
from hardpoint.realtime import Identity, hub
from realtime.serving import ORIGIN, Bench, serving
from support.asgi import logged
from support.live import live

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with serving() as served:
        yield served


async def refusal(bench: Bench, path: str = "/ws", **options: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as refused:
        async with live(bench.url, path, **options):
            pass
    response = refused.value.response
    return response.status_code, response.body


# Who


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"]
)
async def test_a_foreign_origin_is_refused_before_the_handshake_ends(bench: Bench, origin: str) -> None:
    status, body = await refusal(bench, "/ws?token=1/s", origin=origin)
    assert status == 403
    assert b'"FORBIDDEN"' in body
    assert bench.hub.connections == 0


async def test_an_allowed_origin_and_none_are_taken(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s", origin=ORIGIN) as ours, live(bench.url, "/ws?token=1/s") as program:
        assert await ours.ask(type="ping") == await program.ask(type="ping") == {"type": "pong"}


@pytest.mark.parametrize(
    ("path", "headers"), [("/ws?token=1/s", {}), ("/ws", {"Authorization": "Bearer 1/s"})], ids=["query", "header"]
)
async def test_who_it_is_by_the_handshake(bench: Bench, path: str, headers: dict[str, str]) -> None:
    async with live(bench.url, path, additional_headers=headers) as client:
        assert (await client.subscribe("user"))["channel"] == "user:1"


async def test_who_it_is_by_the_first_message(bench: Bench) -> None:
    async with live(bench.url) as client:
        answer = await client.ask(type="auth", token="7/s")
        assert answer == {"type": "authenticated", "user_id": 7, "expires_at": None}
        assert bench.hub.connections_of(7) == 1
    await bench.until(lambda: bench.hub.connections == 0)
    assert bench.hub.connections_of(7) == 0


@pytest.mark.parametrize(
    "first",
    ['{"type":"auth","token":"bad"}', '{"type":"ping"}', '{"type":"auth"}', "no json", b"\x00", ""],
    ids=["bad", "other", "empty", "text", "bytes", "nothing"],
)
async def test_another_first_message_closes(bench: Bench, first: str | bytes) -> None:
    async with live(bench.url) as client:
        await client.connection.send(first)
        assert await client.close_code() == 4001


async def test_a_late_first_message_closes() -> None:
    async with serving(authentication_seconds=0.1) as bench, live(bench.url) as client:
        assert await client.close_code() == 4001


async def test_a_client_that_leaves_before_it_says_who_it_is_is_forgotten(bench: Bench) -> None:
    with logged("hardpoint.access") as records:
        async with live(bench.url):
            pass
        await bench.until(lambda: bool(records.fields("websocket")))
    assert bench.hub.connections == 0


async def test_a_bad_token_in_the_query_closes(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=bad") as client:
        assert await client.close_code() == 4001


async def test_when_nobody_can_say_who_it_is_the_handshake_is_refused(bench: Bench) -> None:
    bench.users.is_away = True
    status, _ = await refusal(bench, "/ws?token=1/s")
    assert status == 503


async def test_when_nobody_can_say_who_it_is_after_the_handshake_the_client_is_told_to_come_back(bench: Bench) -> None:
    async with live(bench.url) as client:
        bench.users.is_away = True
        await client.send(type="auth", token="1/s")
        assert await client.close_code() == 1012
    bench.users.is_away = False
    async with live(bench.url) as client:
        assert (await client.ask(type="auth", token="1/s"))["type"] == "authenticated"


async def test_who_it_is_may_take_too_long_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(authentication_seconds=0.2) as bench:

        async def by_token(connection: HTTPConnection, token: str) -> Identity:
            await asyncio.sleep(60)
            raise AssertionError

        monkeypatch.setattr(bench.users, "by_token", by_token)
        async with live(bench.url) as client:
            await client.send(type="auth", token="1/s")
            assert await client.close_code() == 1012


async def test_a_client_that_leaves_before_it_is_told_who_it_is_is_no_fault(bench: Bench) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def by_token(connection: HTTPConnection, token: str) -> Identity:
        asked.set()
        await goes_on.wait()
        return Identity(1)

    bench.users.by_token = by_token  # type: ignore[method-assign] # a database that takes its time
    with logged("hardpoint") as records:
        async with live(bench.url) as client:
            await client.send(type="auth", token="1/s")
            await asked.wait()
        goes_on.set()
        await bench.until(lambda: bool(records.fields("websocket")))
    assert not records.fields("unhandled_exception")
    assert bench.hub.connections == 0


# Channels


async def test_what_is_published_arrives_in_order(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as one, live(bench.url, "/ws?token=2/t") as two:
        for client in (one, two):
            answer = await client.subscribe("news")
            assert answer == {"type": "subscribed", "channel": "news", "offset": answer["offset"], "recovered": False}
        for number in range(50):
            await bench.hub.publish("news", {"n": number, "text": 'ä\u2028"</script>'})
        assert await one.data(50) == await two.data(50)


async def test_a_message_names_its_channel_and_place(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        start = (await client.subscribe("news"))["offset"]
        offset = await bench.hub.publish("news", [1])
        assert offset == start + 1
        assert await client.receive() == {"type": "message", "channel": "news", "offset": offset, "data": [1]}


async def test_what_goes_on_in_the_background_is_no_requests(bench: Bench) -> None:
    seen: list[str | None] = []

    async def watched(_channel: str, _member: str) -> None:
        seen.append(context.request_id.get())

    bench.hub.store.leave = watched  # type: ignore[method-assign] # looks
    bench.users.rights_of["s"] = "editor"
    async with live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("staff")
        token = context.request_id.set("a-request")
        (peer,) = bench.hub.peers
        bench.hub.unsubscribe(peer, "staff")
        context.request_id.reset(token)
        await bench.until(lambda: seen == [None])


async def test_what_is_published_by_a_route_arrives(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client, httpx2.AsyncClient(base_url=bench.url) as http:
        await client.subscribe("news")
        offset = (await http.post("/publish/news")).json()
        assert (await client.receive())["offset"] == offset
        assert (await http.post("/publish/unknown")).status_code == 404


async def test_nothing_arrives_after_unsubscribing(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("news")
        assert await client.ask(type="unsubscribe", channel="news") == {"type": "unsubscribed", "channel": "news"}
        await bench.hub.publish("news", 1)
        assert await client.ask(type="ping") == {"type": "pong"}
        assert bench.hub.subscriptions == 0


async def test_a_users_own_channel_reaches_all_of_their_connections_and_nobody_else(bench: Bench) -> None:
    async with (
        live(bench.url, "/ws?token=1/a") as one,
        live(bench.url, "/ws?token=1/b") as also,
        live(bench.url, "/ws?token=2/c") as other,
    ):
        assert (await one.subscribe("user"))["channel"] == "user:1"
        await also.subscribe("user:1")
        assert (await other.subscribe("user:1"))["code"] == "NOT_FOUND"
        await other.subscribe("user")
        await bench.hub.send_to_user(1, "hello")
        assert await one.data(1) == await also.data(1) == ["hello"]
        assert await other.ask(type="ping") == {"type": "pong"}


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("unknown", "NOT_FOUND"),
        ("staff", "NOT_FOUND"),
        ("item:x", "VALIDATION_ERROR"),
        ("item:101", "IM_A_TEAPOT"),
        ("item:1\n", "NOT_FOUND"),
        ("item:1/2", "NOT_FOUND"),
        ("{item}", "NOT_FOUND"),
        ("user:", "NOT_FOUND"),
        ("news ", "NOT_FOUND"),
    ],
)
async def test_a_channel_that_is_not_for_the_user_is_an_error(bench: Bench, channel: str, code: str) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        answer = await client.subscribe(channel)
        assert set(answer) == {"type", "code", "detail"}
        assert (answer["type"], answer["code"]) == ("error", code)
        assert (await client.subscribe("item:100"))["type"] == "subscribed"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "null",
        "[]",
        '{"type":"unknown"}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","channel":""}',
        '{"type":"subscribe","channel":5}',
        '{"type":"subscribe","channel":"news","since":"1"}',
        '{"type":"subscribe","channel":"news","since":-1}',
        '{"type":"subscribe","channel":"news","since":true}',
        '{"type":"subscribe","channel":"news","since":1e400}',
        '{"type":"subscribe","channel":"news","since":NaN}',
        '{"type":"subscribe","channel":"news","since":9007199254740992}',
        '{"type":"subscribe","channel":"\\ud800"}',
        '{"type":"subscribe","channel":"' + "x" * 201 + '"}',
        '{"type":"subscribe","channel":"a\\u0000b"}',
        "[" * 1_000,
        "9" * 5_000,
        '{"type":"auth","token":"' + "x" * 8_193 + '"}',
        b'{"type":"ping"}',
    ],
    ids=range(20),
)
async def test_any_other_frame_is_an_error_and_the_socket_stays(bench: Bench, frame: str | bytes) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        await client.connection.send(frame)
        answer = await client.receive()
        assert set(answer) == {"type", "code", "detail"}
        assert answer["code"] in {"INVALID_MESSAGE", "NOT_FOUND"}
        assert await client.ask(type="ping", more="is ignored") == {"type": "pong"}


async def test_data_of_the_wrong_type_is_the_publishers_error(bench: Bench) -> None:
    for wrong in ("text", float("inf")):
        with pytest.raises(ValueError, match="validation error"):
            await bench.hub.publish("short", wrong)
    with pytest.raises(ValueError, match="surrogates"):
        await bench.hub.publish("news", "\ud800")
    with pytest.raises(NotFound):
        await bench.hub.publish("user", 1)


# Coming back


async def test_what_was_missed_comes_first(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        start = (await client.subscribe("news"))["offset"]
        await bench.hub.publish("news", 0)
        seen = (await client.receive())["offset"]
    for number in range(1, 10):
        await bench.hub.publish("news", number)
    async with live(bench.url, "/ws?token=1/s") as client:
        answer = await client.subscribe("news", seen)
        assert answer == {"type": "subscribed", "channel": "news", "offset": seen, "recovered": True}
        await bench.hub.publish("news", 10)
        assert await client.data(10) == list(range(1, 11))
        # Again on the same socket, from the very beginning.
        assert (await client.subscribe("news", start))["recovered"]
        assert await client.data(11) == list(range(11))
        assert bench.hub.subscriptions == 1


async def test_what_is_no_longer_kept_is_said(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        start = (await client.subscribe("short"))["offset"]
        await client.ask(type="unsubscribe", channel="short")
        for number in range(3):
            await bench.hub.publish("short", number)
        answer = await client.subscribe("short", start)
        assert answer == {"type": "subscribed", "channel": "short", "offset": start + 3, "recovered": False}
        assert (await client.subscribe("short", start + 1))["recovered"]
        assert await client.data(2) == [1, 2]
        assert not (await client.subscribe("short", start + 4))["recovered"]


# Limits


async def test_too_many_messages_close() -> None:
    async with serving(messages="1/minute", messages_burst=5) as bench, live(bench.url, "/ws?token=1/s") as client:
        for _ in range(5):
            assert await client.ask(type="ping") == {"type": "pong"}
        await client.send(type="ping")
        assert await client.close_code() == 4029


async def test_a_flood_closes_and_nobody_else_notices(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as flood, live(bench.url, "/ws?token=2/t") as other:
        for _ in range(500):
            await flood.send(type="ping")
        assert await flood.close_code() == 4029
        assert await other.ask(type="ping") == {"type": "pong"}


@pytest.mark.parametrize("path", ["/ws?token=1/s", "/ws"])
async def test_a_large_frame_closes(bench: Bench, path: str) -> None:
    async with live(bench.url, path) as client:
        await client.connection.send("ä" * 40_000)
        assert await client.close_code() == 1009


async def test_too_many_channels_are_an_error() -> None:
    async with serving(max_channels=2) as bench, live(bench.url, "/ws?token=1/s") as client:
        for number in range(2):
            assert (await client.subscribe(f"item:{number}"))["type"] == "subscribed"
        assert (await client.subscribe("item:2"))["code"] == "TOO_MANY_CHANNELS"
        assert (await client.subscribe("item:1"))["type"] == "subscribed"
        await client.ask(type="unsubscribe", channel="item:0")
        assert (await client.subscribe("item:2"))["type"] == "subscribed"


async def test_too_many_connections_of_a_user_close_the_newest() -> None:
    async with serving(max_connections=2) as bench, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(live(bench.url, "/ws?token=1/s")) for _ in range(3)]
        assert await clients[2].close_code() == 4029
        other = await stack.enter_async_context(live(bench.url, "/ws?token=2/s"))
        for client in (*clients[:2], other):
            assert await client.ask(type="ping") == {"type": "pong"}
        await clients[0].connection.close()
        await bench.until(lambda: bench.hub.connections_of(1) == 1)
        again = await stack.enter_async_context(live(bench.url, "/ws?token=1/s"))
        assert await again.ask(type="ping") == {"type": "pong"}


async def test_a_slow_reader_is_closed_and_delays_nobody() -> None:
    """It never reads: its socket's buffers fill, then the server's, then its queue."""
    async with serving(max_waiting_messages=50) as bench, live(bench.url, "/ws?token=2/t") as fast:
        await fast.subscribe("news")
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            port = httpx2.URL(bench.url).port
            await asyncio.get_running_loop().sock_connect(_unblocked(raw), ("127.0.0.1", port))
            async with live(bench.url, "/ws?token=1/s", sock=raw, max_queue=1) as slow:
                await slow.subscribe("news")
                slow.connection.transport.pause_reading()
                data = "x" * 30_000
                with logged("hardpoint.realtime") as records:
                    for number in range(300):
                        await bench.hub.publish("news", [number, data])
                        assert (await fast.receive())["data"][0] == number
                    assert [fields["code"] for fields in records.fields("socket_closing")] == [4008]
                # It reads again, and learns why.
                slow.connection.transport.resume_reading()
                assert await slow.close_code() == 4008
        await bench.until(lambda: bench.hub.connections == 1)


def _unblocked(raw: socket.socket) -> socket.socket:
    raw.setblocking(False)
    return raw


# The end


async def test_an_expired_token_closes_and_a_newer_one_extends() -> None:
    now = 1_000.0
    async with serving(now=lambda: now) as bench:
        bench.users.expires_at = 2_000
        async with live(bench.url, "/ws?token=1/s") as client, live(bench.url, "/ws?token=1/s") as other:
            bench.users.expires_at = 3_000
            answer = await client.ask(type="auth", token="1/s")
            assert answer == {"type": "authenticated", "user_id": 1, "expires_at": "1970-01-01T00:50:00Z"}
            now = 2_000.0
            assert await other.close_code() == 4003
            assert await client.ask(type="ping") == {"type": "pong"}
            now = 3_000.0
            assert await client.close_code() == 4003


async def test_a_bad_or_another_users_token_changes_nothing(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        assert (await client.ask(type="auth", token="bad"))["code"] == "INVALID_TOKEN"
        assert (await client.ask(type="auth", token="2/s"))["code"] == "FORBIDDEN"
        assert (await client.subscribe("user"))["channel"] == "user:1"


async def test_a_revoked_session_closes_its_sockets_alone(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as ended, live(bench.url, "/ws?token=1/t") as other:
        await ended.ask(type="ping")
        await other.ask(type="ping")
        bench.users.is_away = True
        await asyncio.sleep(0)
        del bench.users.rights_of["s"]
        bench.users.is_away = False
        assert await ended.close_code() == 4003
        assert await other.ask(type="ping") == {"type": "pong"}


async def test_nobody_is_thrown_out_because_the_database_is_away(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        await client.ask(type="ping")
        with logged("hardpoint.realtime") as records:
            bench.users.is_away = True
            bench.users.rights_of.clear()
            await bench.until(lambda: bool(records.fields("realtime_check_postponed")))
            assert await client.ask(type="ping") == {"type": "pong"}
            bench.users.is_away = False
            assert await client.close_code() == 4003


async def test_a_demoted_user_receives_no_more_what_is_not_for_them(bench: Bench) -> None:
    bench.users.rights_of["s"] = "editor"
    async with live(bench.url, "/ws?token=1/s") as client:
        assert (await client.subscribe("staff"))["type"] == "subscribed"
        await client.subscribe("news")
        assert await bench.hub.presence("staff") == ["1"]
        bench.users.rights_of["s"] = "user"
        assert await client.receive() == {"type": "unsubscribed", "channel": "staff"}
        await bench.hub.publish("staff", "secret")
        await bench.hub.publish("news", "public")
        assert await client.data(1) == ["public"]
        assert await bench.hub.presence("staff") == []


async def test_who_is_present_is_each_user_once(bench: Bench) -> None:
    bench.users.rights_of.update(s="editor", t="editor")
    async with live(bench.url, "/ws?token=1/s") as one, live(bench.url, "/ws?token=2/t") as two:
        async with live(bench.url, "/ws?token=1/s") as again:
            for client in (one, two, again):
                await client.subscribe("staff")
            assert await bench.hub.presence("staff") == ["1", "2"]
        await bench.until(lambda: bench.hub.connections == 2)
        assert await bench.hub.presence("staff") == ["1", "2"]
        await one.ask(type="unsubscribe", channel="staff")
        assert await bench.hub.presence("staff") == ["2"]
    assert await bench.hub.presence("news") == []


async def test_when_the_service_leaves_every_socket_is_told_and_waited_for() -> None:
    drain = Drain(delay_seconds=0)
    async with serving(drain=drain) as bench, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(live(bench.url, "/ws?token=1/s")) for _ in range(5)]
        for client in clients:
            await client.ask(type="ping")
        drain.start()
        assert drain.in_flight == 5
        status, _ = await refusal(bench, "/ws?token=1/s")
        assert status == 503
        assert [await client.close_code() for client in clients] == [1012] * 5
        await drain.finished()
        assert drain.in_flight == 0


async def test_the_sockets_of_a_service_that_leaves_are_closed_at_moments_of_their_own() -> None:
    """So that their clients do not all come back at once."""
    drain = Drain(delay_seconds=0)
    async with serving(drain=drain) as bench, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(live(bench.url, f"/ws?token={number}/s")) for number in range(4)]
        for client in clients:
            await client.ask(type="ping")
        moments = [0.15, 0.05, 0.2, 0.1]
        closed: list[int] = []

        async def watch(number: int) -> None:
            assert await clients[number].close_code() == 1012
            closed.append(number)

        with patch.object(hub, "_random") as chance:
            chance.uniform.side_effect = moments
            drain.start()
            assert [call.args for call in chance.uniform.call_args_list] == [(0, 0.2)] * 4
        await asyncio.gather(*(watch(number) for number in range(4)))
        assert closed == sorted(range(4), key=moments.__getitem__)


async def test_a_client_that_vanishes_is_forgotten(bench: Bench) -> None:
    async with live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("news")
        client.connection.transport.abort()
        await bench.until(lambda: bench.hub.connections == 0)
        await bench.hub.publish("news", 1)
        assert bench.hub.subscriptions == 0


async def test_a_line_in_the_access_log_tells_how_it_ended(bench: Bench) -> None:
    with logged("hardpoint.access") as records:
        async with live(bench.url, "/ws?token=1/secret") as client:
            await client.ask(type="ping")
        await bench.until(lambda: bool(records.fields("websocket")))
    (fields,) = records.fields("websocket")
    assert (fields["accepted"], fields["close_code"], fields["path"]) == (True, 1000, "/ws")
    assert "secret" not in str(fields)
