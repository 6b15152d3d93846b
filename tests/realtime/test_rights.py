"""Who may receive what, while it changes: races that real guards and databases are too quick to show."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, HTTPException

from hardpoint.errors import NotFound, ServiceUnavailable
from hardpoint.realtime import Channels, Identity, current_identity
from realtime.serving import Bench, serving
from support.asgi import logged
from support.live import live

pytestmark = pytest.mark.anyio


class Guard:
    """A guard for editors that takes as long, and fails as often, as the test says."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.failure: Exception | None = None

    def channels(self) -> Channels:
        channels = Channels()

        @channels.channel("staff", presence=True)
        async def staff(identity: Annotated[Identity, Depends(current_identity)]) -> None:
            """For editors."""
            if self.failure is not None:
                raise self.failure
            is_editor = identity.rights == "editor"
            self.asked.set()
            await self.goes_on.wait()
            if not is_editor:
                raise NotFound("There is no such channel")

        @channels.channel("news")
        async def news() -> None:
            """For everybody."""

        return channels


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[Bench, Guard]]:
    guard = Guard()
    async with serving(channels=guard.channels()) as bench:
        bench.users.rights_of["s"] = "editor"
        yield bench, guard


async def test_who_is_demoted_while_the_guard_still_looks_does_not_come_in() -> None:
    async with guarded() as (bench, guard), live(bench.url, "/ws?token=1/s") as client:
        guard.goes_on.clear()
        await client.send(type="subscribe", channel="staff")
        await guard.asked.wait()
        bench.users.rights_of["s"] = "user"
        (peer,) = bench.hub.peers
        await bench.until(lambda: peer.identity.rights == "user")
        guard.goes_on.set()
        assert (await client.receive())["code"] == "NOT_FOUND"
        assert bench.hub.subscriptions == 0
        await bench.hub.publish("staff", "secret")
        assert await client.ask(type="ping") == {"type": "pong"}


async def test_who_is_demoted_while_they_read_what_they_missed_gets_no_more() -> None:
    async with guarded() as (bench, _), live(bench.url, "/ws?token=1/s") as client:
        reads, read = asyncio.Event(), bench.hub.store.read
        goes_on = asyncio.Event()

        async def slow_read(channel: str, since: int | None) -> Any:
            if since is None:
                return await read(channel, since)
            reads.set()
            await goes_on.wait()
            return await read(channel, since)

        start = await bench.hub.publish("staff", "before")
        await bench.hub.publish("staff", "secret")
        bench.hub.store.read = slow_read  # type: ignore[method-assign] # a store that takes its time
        await client.send(type="subscribe", channel="staff", since=start)
        await reads.wait()
        bench.users.rights_of["s"] = "user"
        assert await client.receive() == {"type": "unsubscribed", "channel": "staff"}
        goes_on.set()
        assert await client.ask(type="ping") == {"type": "pong"}
        assert bench.hub.subscriptions == 0
        assert await bench.hub.presence("staff") == []


async def test_another_session_while_the_first_ones_rights_are_asked_is_not_closed_for_it() -> None:
    async with guarded() as (bench, _), live(bench.url, "/ws?token=1/s") as client:
        await client.ask(type="ping")
        asked, goes_on, rights = asyncio.Event(), asyncio.Event(), bench.users.rights

        async def slow_rights(identities: Collection[Identity]) -> Mapping[str, str]:
            known = {identity.session_id for identity in identities}
            found = {session: rights for session, rights in (await rights(identities)).items() if session in known}
            asked.set()
            await goes_on.wait()
            return found

        bench.users.rights = slow_rights  # type: ignore[method-assign] # a database that takes its time
        await asked.wait()
        assert (await client.ask(type="auth", token="1/t"))["type"] == "authenticated"
        del bench.users.rights_of["s"]
        asked.clear()
        goes_on.set()
        await asked.wait()
        assert await client.ask(type="ping") == {"type": "pong"}
        del bench.users.rights_of["t"]
        assert await client.close_code() == 4003


@pytest.mark.parametrize("failure", [HTTPException(403), RuntimeError("A guard's own fault")], ids=["refuses", "fails"])
async def test_a_guard_that_does_not_say_yes_again_says_no(failure: Exception) -> None:
    async with guarded() as (bench, guard), live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("staff")
        await client.subscribe("news")
        guard.failure = failure
        with logged("hardpoint.realtime") as records:
            bench.users.rights_of["s"] = "user"
            assert await client.receive() == {"type": "unsubscribed", "channel": "staff"}
            assert len(records.fields("guard_failed")) == isinstance(failure, RuntimeError)
        await bench.hub.publish("staff", "secret")
        await bench.hub.publish("news", "public")
        assert await client.data(1) == ["public"]


async def test_a_guard_that_cannot_be_asked_is_asked_again() -> None:
    async with guarded() as (bench, guard), live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("staff")
        guard.failure = ServiceUnavailable()
        with logged("hardpoint.realtime") as records:
            bench.users.rights_of["s"] = "user"
            await bench.until(lambda: bool(records.fields("realtime_check_postponed")))
        assert bench.hub.subscriptions == 1
        guard.failure = None
        assert await client.receive() == {"type": "unsubscribed", "channel": "staff"}


async def test_a_guard_that_says_no_to_who_receives_already_ends_that() -> None:
    async with guarded() as (bench, guard), live(bench.url, "/ws?token=1/s") as client:
        await client.subscribe("staff")
        guard.failure = ServiceUnavailable()
        assert (await client.subscribe("staff"))["code"] == "SERVICE_UNAVAILABLE"
        assert bench.hub.subscriptions == 1
        guard.failure = NotFound("It is gone")
        assert (await client.subscribe("staff"))["code"] == "NOT_FOUND"
        assert bench.hub.subscriptions == 0


async def test_a_guards_own_fault_is_logged_and_the_socket_stays() -> None:
    async with serving() as bench, live(bench.url, "/ws?token=1/s") as client:
        with logged("hardpoint.realtime") as records:
            answer = await client.subscribe("item:-1")
            assert answer == {"type": "error", "code": "INTERNAL_ERROR", "detail": "Internal server error"}
            assert len(records.fields("socket_message_failed")) == 1
        assert (await client.subscribe("item:1"))["type"] == "subscribed"


async def test_what_the_handshake_needed_is_given_back_before_the_socket_begins() -> None:
    """A session of the database, for example, which would be held for hours."""
    events: list[str] = []

    async def session() -> AsyncIterator[None]:
        events.append("opened")
        yield
        events.append("closed")

    async with serving(dependencies=[Depends(session)]) as bench, live(bench.url, "/ws?token=1/s") as client:
        assert await client.ask(type="ping") == {"type": "pong"}
        assert events == ["opened", "closed"]


async def test_who_has_to_go_does_not_stay_because_anothers_guard_takes_its_time() -> None:
    async with guarded() as (bench, guard), live(bench.url, "/ws?token=1/s") as one:
        await one.subscribe("staff")
        async with live(bench.url, "/ws?token=2/t") as two:
            await two.subscribe("news")
            guard.asked.clear()
            guard.goes_on.clear()
            bench.users.rights_of["s"] = "user"
            await guard.asked.wait()
            del bench.users.rights_of["t"]
            assert await two.close_code() == 4003
        guard.goes_on.set()
        assert await one.receive() == {"type": "unsubscribed", "channel": "staff"}
