"""What asyncio leaves to do by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["in_thread", "is_failure", "is_wanted", "running", "task_group"]

T = TypeVar("T")


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` out of which a single exception comes as it is, not in a group.

    For a context manager that works in the background: what its block raises is nothing that it should change.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        raise


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], *, name: str | None = None) -> AsyncIterator[None]:
    """Run `work` beside the block and cancel it at the block's end; when it fails, the block is cancelled."""
    async with task_group() as group:
        task = group.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns, called in a thread.

    A cancellation waits for its end, where `asyncio.to_thread` leaves it behind: what is opened can be closed when it
    is open, and not in the middle of it.
    """
    call = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        # What it raises is nobody's any more.
        await asyncio.wait([call])
        if not call.cancelled():
            call.exception()
        raise


def is_wanted() -> bool:
    """Whether nobody has cancelled the current task: the condition of a loop that works until cancelled.

    `asyncio.wait_for`, which libraries use, loses a cancellation that arrives just as it succeeds (before Python 3.12).
    A loop that relies on the exception alone then goes on for ever, and what waits for its end never ends.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def is_failure(error: BaseException) -> bool:
    """Whether `error`, of whatever this task has called, is a failure to note and go on after.

    The end of the process is none, nor of the coroutine, nor is a cancellation of this task. That of another one, on
    which the code waited, comes as the same exception and is: passed on, it would end this task without a word, and
    nobody asked for that.
    """
    if isinstance(error, Exception):
        return True
    return not isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit) and is_wanted()
