"""What asyncio leaves to do by hand."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["running", "task_group"]


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
