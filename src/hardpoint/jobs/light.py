"""Light tasks: functions that run after the response, in this process, and are lost when it is killed.

Unlike Starlette's `BackgroundTasks` they do not stop at the first that fails, have sessions of their own instead of the
request's closed one, keep the request's id, end within a time limit, and are waited for when the service stops.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import lru_cache
from typing import Annotated, Any, ParamSpec

from fastapi import Depends
from starlette.requests import HTTPConnection

from hardpoint.aio import is_failure, task_group
from hardpoint.arguments import check_argument
from hardpoint.jobs.calling import Call
from hardpoint.log import get_logger
from hardpoint.scope import of_lifespan

__all__ = ["AfterResponse", "LightTasks", "after_response", "open_light_tasks"]

P = ParamSpec("P")

logger = get_logger("hardpoint.tasks")

_call_of = lru_cache(maxsize=1_024)(Call)


class LightTasks:
    """Runs light tasks; make it with `open_light_tasks`.

    Args:
        group: Where they run.
        state: The lifespan's state, for their dependencies.
        timeout_seconds: After which a task is cancelled.
        max_running: How many run at once; the others wait.
        max_waiting: How many run or wait; what is more is dropped.

    Attributes:
        waiting: How many run or wait.
        done: How many have succeeded.
        failed: How many have failed, were cancelled or dropped.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        state: Mapping[str, Any],
        timeout_seconds: float,
        max_running: int,
        max_waiting: int,
    ) -> None:
        self._group = group
        self._state = state
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(max_running)
        self._max_waiting = max_waiting
        self.waiting = 0
        self.done = 0
        self.failed = 0

    def start(self, function: Callable[..., Awaitable[None]], arguments: Mapping[str, Any]) -> None:
        """Run `function` soon, in the context of the caller.

        One too many is dropped, and so is one that comes when the service ends: logged and counted, nothing is raised.
        """
        if self.waiting >= self._max_waiting:
            self._drop(function, "too many wait")
            return
        work = self._run(function, arguments)
        try:
            self._group.create_task(work, context=copy_context())
        except RuntimeError:
            work.close()
            self._drop(function, "the service ends")
        else:
            self.waiting += 1

    def _drop(self, function: Callable[..., Awaitable[None]], reason: str) -> None:
        self.failed += 1
        logger.error("task_dropped", task=_name_of(function), reason=reason)

    async def _run(self, function: Callable[..., Awaitable[None]], arguments: Mapping[str, Any]) -> None:
        name = _name_of(function)
        try:
            async with self._slots, asyncio.timeout(self._timeout_seconds):
                await _call_of(function).run(arguments, state=self._state)
        except BaseException as error:
            self.failed += 1
            if not is_failure(error):
                logger.error("task_cancelled", task=name)  # noqa: TRY400 - where it was is nobody's fault.
                raise
            logger.exception("task_failed", task=name)
        else:
            self.done += 1
            logger.debug("task_finished", task=name)
        finally:
            self.waiting -= 1


def _name_of(function: Callable[..., Awaitable[None]]) -> str:
    return getattr(function, "__qualname__", repr(function))


@asynccontextmanager
async def open_light_tasks(
    state: Mapping[str, Any],
    *,
    timeout_seconds: float = 30.0,
    max_running: int = 20,
    max_waiting: int = 10_000,
    drain_seconds: float = 8.0,
) -> AsyncIterator[LightTasks]:
    """A `LightTasks` that waits for its tasks at the end.

    As a resource: `Resource("light_tasks", lambda opened: open_light_tasks(opened.state))`.

    Args:
        state: The lifespan's state, for their dependencies.
        timeout_seconds: After which a task is cancelled.
        max_running: How many run at once; the others wait.
        max_waiting: How many run or wait; what is more is dropped.
        drain_seconds: How long to wait at the end before what still runs is cancelled; less than the
            `close_timeout_seconds` of the resource.

    Raises:
        ValueError: A number is out of its range, so that no task would run.
        TypeError: The state is something else.
    """
    check_argument("state", state, Mapping, "the lifespan's, open_light_tasks(opened.state)")
    if not timeout_seconds > 0 or max_running < 1 or max_waiting < 1 or not drain_seconds >= 0:
        raise ValueError("timeout_seconds, max_running and max_waiting must be more than 0, drain_seconds not less")
    end = asyncio.timeout(None)
    try:
        async with end, task_group() as group:
            yield LightTasks(
                group,
                state=state,
                timeout_seconds=timeout_seconds,
                max_running=max_running,
                max_waiting=max_waiting,
            )
            end.reschedule(asyncio.get_running_loop().time() + drain_seconds)
    except TimeoutError:
        if not end.expired():
            raise
        logger.warning("tasks_cancelled", after_seconds=drain_seconds)


class AfterResponse:
    """What a request leaves to do; the dependency `after_response` gives it.

    When the request fails, because its route or a dependency raises or its time is over, nothing of it is done. When
    the client goes away without waiting for the response, it is done all the same.

        @router.get("/posts/{post_id}")
        async def read(post_id: int, after: Annotated[AfterResponse, Depends(after_response)]) -> None:
            after.run(count_view, post_id=post_id)
    """

    def __init__(self) -> None:
        self._planned: list[tuple[Callable[..., Awaitable[None]], Mapping[str, Any]]] = []

    def run(self, function: Callable[P, Awaitable[None]], **arguments: Any) -> None:
        """Run `function` after the response, if the request succeeds.

        Args:
            function: An async function; its parameters are arguments, or dependencies as in a job.
            **arguments: What it needs besides its dependencies.

        Raises:
            TypeError: The arguments do not fit.
        """
        self._planned.append((function, _call_of(function).encode(arguments)))

    def start(self, tasks: LightTasks) -> None:
        """Hand over everything that was planned."""
        for function, arguments in self._planned:
            tasks.start(function, arguments)


async def get_light_tasks(connection: HTTPConnection) -> LightTasks:
    """The `LightTasks` that the lifespan holds under the name `light_tasks`."""
    tasks: LightTasks = of_lifespan(connection.scope, "light_tasks")
    return tasks


async def after_response(tasks: Annotated[LightTasks, Depends(get_light_tasks)]) -> AsyncIterator[AfterResponse]:
    """What this request leaves to do after its response; dropped when the request fails."""
    after = AfterResponse()
    yield after
    after.start(tasks)
