"""Calls made together."""

import asyncio

import pytest

from hardpoint.jobs.batching import Batched


async def test_what_arrives_during_a_call_goes_with_the_next() -> None:
    calls: list[list[int]] = []
    go_on = asyncio.Event()

    async def double(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 1:
            await go_on.wait()
        return [2 * number for number in numbers]

    batched = Batched(double, most=3)
    first = asyncio.create_task(batched(0))
    await asyncio.sleep(0)
    others = [asyncio.create_task(batched(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
    assert calls == [[0], [1, 2, 3], [4, 5]]


async def test_a_failure_is_everybodys_and_the_next_call_is_another_one() -> None:
    failing = True

    async def call(numbers: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if failing:
            raise ZeroDivisionError
        return numbers

    batched = Batched(call)
    results = await asyncio.gather(*(batched(number) for number in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 3
    failing = False
    assert await batched(7) == 7


async def test_who_is_cancelled_in_the_middle_of_a_call_leaves_the_others_theirs() -> None:
    calls: list[list[int]] = []

    async def call(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        if len(calls) == 2:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return numbers

    batched = Batched(call)
    tasks = [asyncio.create_task(batched(number)) for number in range(4)]
    while len(calls) < 2:
        await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert await asyncio.gather(tasks[0], *tasks[2:]) == [0, 2, 3]
    assert calls == [[0], [1, 2, 3], [2, 3]]
