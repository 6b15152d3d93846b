"""Calls that arrive while one is under way wait for it and are made together, as one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Batched"]

K = TypeVar("K")
V = TypeVar("V")


class Batched(Generic[K, V]):
    """A function of one thing, made of a function of many.

    No call waits for company: the first goes at once and alone. What arrives meanwhile goes with the next, so that
    there are as many calls as the other side can take, and each has as much as there is.

    Args:
        call: Takes some keys and answers each of them, in their order.
        most: How many of them at most.
    """

    def __init__(self, call: Callable[[list[K]], Awaitable[list[V]]], *, most: int = 500) -> None:
        self._call = call
        self._most = most
        self._one_at_a_time = asyncio.Lock()
        self._waiting: dict[asyncio.Future[V], K] = {}

    async def __call__(self, key: K) -> V:
        """What `call` answers for `key`.

        Raises:
            Exception: What `call` raised, for each of the keys that it was given.
        """
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = key
        try:
            async with self._one_at_a_time:
                while not answer.done():
                    await self._answer()
        finally:
            self._waiting.pop(answer, None)
        return answer.result()

    async def _answer(self) -> None:
        batch = dict(list(self._waiting.items())[: self._most])
        try:
            values = await self._call(list(batch.values()))
        except Exception as error:  # noqa: BLE001 - whatever it is, each of them gets it.
            for answer in batch.keys() & self._waiting.keys():
                del self._waiting[answer]
                answer.set_exception(error)
            return
        # When the task that calls is cancelled, nothing of this happens, and the next of those that wait calls for all.
        for answer, value in zip(batch, values, strict=True):
            self._waiting.pop(answer, None)
            answer.set_result(value)
