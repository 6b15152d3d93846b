"""Work that belongs to the lifespan: before the first request, and every so often."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from hardpoint.aio import is_failure, is_wanted, running
from hardpoint.lifespan.resources import Opened, Resource
from hardpoint.log import get_logger

__all__ = ["periodic", "warm_up"]

logger = get_logger("hardpoint.background")

Work = Callable[[Opened], Awaitable[None]]
# Decides when, never what: nothing secret depends on it.
_random = random.Random()  # noqa: S311 - see above.


def periodic(
    name: str, work: Work, *, every_seconds: float, jitter: float = 0.1, at_start: bool = False
) -> Resource[None]:
    """A resource that runs `work` every so often while the service runs.

    One run at a time, the pause counted from its end. A run that fails is logged and does not end the schedule; one
    that is running when the service stops is cancelled. Every process runs its own: for one run in all of them, use a
    durable job.

    Args:
        name: The resource's name.
        work: Called with the resources opened before.
        every_seconds: The pause between two runs.
        jitter: By which part the pause varies at random, 0 to 1, so that processes do not act together.
        at_start: Whether the first run begins at once.

    Raises:
        ValueError: The pause is not more than 0, or the jitter out of its range.
        TypeError: `work` is no function.
    """
    _check_work(name, work)
    if not every_seconds > 0 or not 0 <= jitter <= 1:
        raise ValueError("every_seconds must be more than 0 and jitter between 0 and 1")

    async def run_forever(opened: Opened) -> None:
        due = at_start
        while is_wanted():
            if due:
                try:
                    await work(opened)
                except BaseException as error:
                    if not is_failure(error):
                        raise
                    logger.exception("periodic_work_failed", work=name)
            due = True
            await asyncio.sleep(every_seconds * (1 + jitter * _random.uniform(-1, 1)))

    @asynccontextmanager
    async def open_schedule(opened: Opened) -> AsyncIterator[None]:
        async with running(run_forever(opened), name=name):
            yield

    return Resource(name, open_schedule)


def warm_up(name: str, work: Work, *, timeout_seconds: float = 30.0, required: bool = True) -> Resource[None]:
    """A resource that runs `work` once before the service takes requests: caches to fill, models to load.

    Args:
        name: The resource's name.
        work: Called with the resources opened before.
        timeout_seconds: After which it has failed.
        required: Whether a failure ends the start, or is logged and the service starts cold.

    Raises:
        ValueError: The time is not more than 0.
        TypeError: `work` is no function.
    """
    _check_work(name, work)
    if not timeout_seconds > 0:
        raise ValueError("timeout_seconds must be more than 0")

    @asynccontextmanager
    async def open_warm(opened: Opened) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_seconds):
                await work(opened)
        except Exception:
            logger.exception("warm_up_failed", work=name)
            if required:
                raise
        yield

    def open_resource(opened: Opened) -> AbstractAsyncContextManager[None]:
        return open_warm(opened)

    return Resource(name, open_resource, required=required)


def _check_work(name: str, work: Any) -> None:
    if not callable(work):
        raise TypeError(f"{name}: {work!r} is no function; name an async function of what is open, without calling it")
