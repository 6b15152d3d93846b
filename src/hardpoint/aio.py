"""What asyncio leaves to do by hand."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["running"]


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], *, name: str | None = None) -> AsyncIterator[None]:
    """Run `work` beside the block and cancel it at the block's end; when it fails, the block is cancelled.

    What the block or the work raises comes out as it is, not in the group that `asyncio.TaskGroup` makes of it.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name=name)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        raise
