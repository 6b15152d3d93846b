"""What a connection has yet to be sent."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from starlette.types import Message

from hardpoint.realtime.frames import WIRE, Frames
from hardpoint.realtime.outbox import Outbox

pytestmark = pytest.mark.anyio

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


class Server:
    """An ASGI `send` that waits while the client does not read."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.contexts: set[str] = set()
        self.reads = asyncio.Event()
        self.reads.set()
        self.steps = 1
        self.error: Exception | None = None
        self.losses = 0

    def on_loss(self) -> None:
        self.losses += 1

    def write(self, wire: bytes) -> bool:
        if self.error is not None:
            raise self.error
        if self.reads.is_set():
            self.sent.append(wire)
        return self.reads.is_set()

    async def send(self, message: Message) -> None:
        for _ in range(self.steps):
            await self.reads.wait()
        if self.error is not None:
            raise self.error
        self.contexts.add(whose.get())
        self.sent.append(message.get("text", message.get(WIRE, message.get("code"))))


def outbox_of(
    server: Server, *, on_overflow: Any = None, messages: int = 3, characters: int = 100, **more: Any
) -> Outbox:
    return Outbox(
        server.send,
        **more,
        max_messages=messages,
        max_characters=characters,
        on_overflow=on_overflow or (lambda: pytest.fail("it overflowed")),
        on_loss=server.on_loss,
    )


async def test_a_fast_reader_is_sent_to_at_once() -> None:
    server = Server()
    outbox = outbox_of(server)
    outbox.put(Frames.one("a"))
    outbox.put(Frames.one("b"))
    assert server.sent == ["a", "b"]
    await outbox.flushed()
    await outbox.end()


async def test_a_slow_reader_keeps_nobody_waiting_and_gets_everything_in_order() -> None:
    server = Server()
    outbox = outbox_of(server)
    server.reads.clear()
    for text in "abc":
        outbox.put(Frames.one(text))
    assert outbox.blocked_since is None
    await asyncio.sleep(0)
    assert outbox.blocked_since is not None
    assert server.sent == []
    server.reads.set()
    await outbox.flushed()
    outbox.put(Frames.one("d"))
    assert server.sent == ["a", "b", "c", "d"]
    assert outbox.blocked_since is None


async def test_a_send_that_waits_more_than_once_is_resumed_each_time() -> None:
    server = Server()
    server.steps = 3
    server.reads.clear()
    outbox = outbox_of(server)
    outbox.put(Frames.one("a"))
    for _ in range(3):
        await asyncio.sleep(0)
        server.reads.set()
        server.reads.clear()
    server.reads.set()
    await outbox.flushed()
    assert server.sent == ["a"]


@pytest.mark.parametrize(("texts", "waiting"), [("abcde", 3), (["a", "b" * 90, "c" * 11], 1)])
async def test_too_much_overflows(texts: Any, waiting: int) -> None:
    server = Server()
    overflows: list[None] = []
    outbox = outbox_of(server, on_overflow=lambda: overflows.append(None))
    server.reads.clear()
    for text in texts:
        outbox.put(Frames.one(text))
    assert len(overflows) == 1
    server.reads.set()
    await outbox.flushed()
    assert server.sent == list(texts)[: waiting + 1]


async def test_closing_comes_after_what_waits() -> None:
    server = Server()
    outbox = outbox_of(server)
    server.reads.clear()
    outbox.put(Frames.one("a"))
    outbox.put(Frames.one("b"))
    outbox.close(1012, "later")
    outbox.close(4008, "not twice")
    outbox.put(Frames.one("never"))
    assert not outbox.is_open
    server.reads.set()
    await outbox.flushed()
    assert server.sent == ["a", "b", 1012]


async def test_closing_at_once_drops_what_waits() -> None:
    server = Server()
    outbox = outbox_of(server)
    server.reads.clear()
    outbox.put(Frames.one("a"))
    outbox.put(Frames.one("b"))
    outbox.close(4008, "slow", at_once=True)
    server.reads.set()
    await outbox.flushed()
    assert server.sent == ["a", 4008]


async def test_closing_an_idle_one_is_sent_at_once_and_once() -> None:
    server = Server()
    outbox = outbox_of(server)
    outbox.close(1012, "now")
    await outbox.flushed()
    assert server.sent == [1012]


async def test_a_close_that_has_to_wait_is_sent_once() -> None:
    server = Server()
    server.reads.clear()
    outbox = outbox_of(server)
    outbox.close(1012, "now")
    await asyncio.sleep(0)
    server.reads.set()
    await outbox.flushed()
    assert server.sent == [1012]


async def test_the_end_leaves_nothing_running() -> None:
    server = Server()
    server.reads.clear()
    outbox = outbox_of(server)
    outbox.put(Frames.one("a"))
    outbox.put(Frames.one("b"))
    before = asyncio.all_tasks()
    await asyncio.sleep(0)
    await outbox.end()
    assert asyncio.all_tasks() < before
    server.reads.set()
    await asyncio.sleep(0)
    assert server.sent == []
    outbox.put(Frames.one("c"))
    assert server.sent == []


@pytest.mark.parametrize("waits", [False, True])
async def test_a_client_that_left_is_no_error_for_who_publishes(*, waits: bool) -> None:
    server = Server()
    server.error = OSError("gone")
    outbox = outbox_of(server)
    if waits:
        server.reads.clear()
    outbox.put(Frames.one("a"))
    outbox.put(Frames.one("b"))
    server.reads.set()
    await outbox.flushed()
    assert not outbox.is_open
    assert server.sent == []
    assert server.losses == 1


async def test_frames_are_sent_in_the_connections_context() -> None:
    server = Server()
    whose.set("the connection's")
    outbox = outbox_of(server)
    whose.set("the publisher's")
    outbox.put(Frames.one("a"))
    server.reads.clear()
    outbox.put(Frames.one("b"))
    outbox.put(Frames.one("c"))
    server.reads.set()
    await outbox.flushed()
    assert server.sent == ["a", "b", "c"]
    assert server.contexts == {"the connection's"}


async def test_a_server_that_takes_frames_is_given_several_at_once() -> None:
    server = Server()
    outbox = outbox_of(server, write=server.write)
    several = Frames([1, 2], ["a", "b"])
    outbox.put(several)
    server.reads.clear()
    outbox.put(Frames.one("c"))
    outbox.put(several)
    server.reads.set()
    await outbox.flushed()
    assert server.sent == [several.wire, Frames.one("c").wire, several.wire]


@pytest.mark.parametrize("limits", [{"messages": 3, "characters": 1_000}, {"messages": 100, "characters": 9}])
async def test_frames_together_count_as_many(limits: dict[str, int]) -> None:
    server = Server()
    overflows: list[None] = []
    outbox = outbox_of(server, write=server.write, on_overflow=lambda: overflows.append(None), **limits)
    server.reads.clear()
    two = Frames([1, 2], ["a", "b"])
    outbox.put(two)
    outbox.put(two)
    assert not overflows
    outbox.put(two)
    assert len(overflows) == 1
    server.reads.set()
    await outbox.flushed()
    assert server.sent == [two.wire, two.wire]
    # What waited no longer counts.
    server.reads.clear()
    outbox.put(two)
    outbox.put(two)
    assert len(overflows) == 1
    server.reads.set()
    await outbox.flushed()


@pytest.mark.parametrize("writes", [False, True])
async def test_a_loss_is_told_once(*, writes: bool) -> None:
    server = Server()
    server.error = OSError("gone")
    outbox = outbox_of(server, write=server.write if writes else None)
    for text in "abc":
        outbox.put(Frames.one(text))
    outbox.close(1012, "later")
    assert server.losses == 1
    assert not outbox.is_open
