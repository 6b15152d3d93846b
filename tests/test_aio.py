"""What asyncio leaves to do by hand."""

import asyncio
import threading

import pytest

from hardpoint.aio import in_thread, is_failure, is_wanted, running

pytestmark = pytest.mark.anyio


async def test_a_loop_whose_cancellation_was_lost_ends() -> None:
    """As `asyncio.wait_for` of Python 3.11 loses it, when what it waits for succeeds at the same moment."""
    lost = 0

    async def loses_it() -> None:
        nonlocal lost
        while is_wanted():
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1

    async with asyncio.timeout(30), running(loses_it()):
        await asyncio.sleep(0)
    assert lost == 1


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


async def test_a_cancellation_of_another_task_is_a_failure_and_ones_own_is_none() -> None:
    told: list[bool] = []

    async def waits(other: asyncio.Task[None]) -> None:
        try:
            await other
        except asyncio.CancelledError as error:
            told.append(is_failure(error))

    async def long() -> None:
        await asyncio.sleep(3600)

    async with asyncio.TaskGroup() as group:
        other = group.create_task(long())
        group.create_task(waits(other))
        await asyncio.sleep(0)
        other.cancel()
    async with asyncio.TaskGroup() as group:
        own = group.create_task(waits(asyncio.create_task(long())))
        await asyncio.sleep(0)
        own.cancel()
    assert told == [True, False]
    assert is_failure(ZeroDivisionError())
    assert not is_failure(SystemExit())
    assert not is_failure(GeneratorExit())


async def test_a_thread_gives_what_its_function_returns_and_raises() -> None:
    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_thread(fails: bool) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(30)
        ended.set()
        if fails:
            raise RuntimeError("nobody hears of it")

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
