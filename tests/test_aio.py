"""What asyncio leaves to do by hand."""

import asyncio

import pytest

from hardpoint.aio import running

pytestmark = pytest.mark.anyio


async def test_work_that_loses_a_cancellation_is_asked_again() -> None:
    """As `asyncio.wait_for` of Python 3.11 does, when what it waits for succeeds at the same moment."""
    lost = 0

    async def loses_the_first() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    async with asyncio.timeout(30), running(loses_the_first()):
        await asyncio.sleep(0)
    assert lost == 2


async def test_the_work_ends_with_the_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with running(work()):
        await asyncio.sleep(0)
        assert not ended.is_set()
    assert ended.is_set()


async def test_what_fails_ends_the_block() -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        async with running(fail()):
            await asyncio.sleep(3600)


async def test_what_the_block_raises_is_raised() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with running(asyncio.sleep(3600)):
            raise LookupError("mine")
