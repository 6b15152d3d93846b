"""Jobs as they are declared."""

import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hardpoint.db import Session
from hardpoint.jobs import JobQueue, JobRegistry, RetryPolicy


def test_a_job_can_be_called_like_the_function_that_it_is() -> None:
    registry = JobRegistry()
    called: list[int] = []

    @registry.job()
    async def work(number: int) -> None:
        called.append(number)

    assert [job.name for job in registry] == ["work"]
    assert registry.get("work") is work
    with pytest.raises(StopIteration):
        work(3).send(None)
    assert called == [3]


@given(st.integers(1, 200), st.floats(0, 1), st.integers(0, 2**32))
def test_pauses_double_up_to_their_bound_with_jitter(attempt: int, jitter: float, seed: int) -> None:
    policy = RetryPolicy(backoff_seconds=2, max_backoff_seconds=600, jitter=jitter)
    plain = min(2 * 2 ** (attempt - 1), 600)
    pause = policy.pause_after(attempt, chance=random.Random(seed))
    assert plain * (1 - jitter) <= pause <= plain * (1 + jitter) + 1e-9


def test_a_part_brings_its_own_queue_once() -> None:
    registry = JobRegistry()
    with pytest.raises(ValueError, match="not declared"):
        registry.job(queue="live")
    queue = registry.add_queue(JobQueue("live", concurrency=2))
    assert registry.queues["live"] is queue
    registry.job(queue="live")
    with pytest.raises(ValueError, match="already"):
        registry.add_queue(JobQueue("live"))


def test_what_cannot_be_a_job_is_refused_when_it_is_written() -> None:
    registry = JobRegistry(JobQueue("mail"))

    def sync() -> None: ...
    async def variadic(*numbers: int) -> None: ...
    async def bare(number) -> None: ...  # type: ignore[no-untyped-def]
    async def needs_argument(number: int) -> None: ...
    async def fine(session: Session) -> None: ...
    async def takes_request(request: Request) -> None: ...
    async def takes_positional(number: int, /) -> None: ...
    async def takes_field(number: int = Field(5, gt=0)) -> None: ...

    for wrong in (sync, variadic, bare, takes_request, takes_positional, takes_field):
        with pytest.raises(TypeError, match="async function|annotate|JSON|by its parameters|Annotated"):
            registry.job()(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="do not fit"):
        registry.job(schedule="* * * * *")(needs_argument)
    with pytest.raises(ValueError, match="not declared"):
        registry.job(queue="nowhere")
    for options in (
        {"attempts": 0},
        {"jitter": 2},
        {"backoff_seconds": -1},
        {"max_backoff_seconds": 1, "backoff_seconds": 2},
        {"timeout_seconds": 0},
        {"timeout_seconds": math.nan},
        {"backoff_seconds": math.nan},
        {"max_backoff_seconds": math.inf},
        {"name": "n" * 201},
    ):
        with pytest.raises(ValueError, match="must be|at least|1 to 200"):
            registry.job(**options)(fine)  # type: ignore[arg-type]

    async def takes_delay(delay: int) -> None: ...

    with pytest.raises(ValueError, match="something else"):
        registry.job()(takes_delay)
    registry.job(queue="mail")(fine)
    with pytest.raises(ValueError, match="already"):
        registry.job()(fine)


@pytest.mark.parametrize(
    "options", [{"name": ""}, {"name": "_dbos_internal_queue"}, {"concurrency": 0}, {"total_concurrency": 0}]
)
def test_what_cannot_be_a_queue_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="queue"):
        JobQueue(**{"name": "mail", **options})


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: JobRegistry("mail"), r"'mail' is no queue; write JobRegistry\(JobQueue"),  # type: ignore[arg-type]
        (lambda: JobRegistry([JobQueue("mail")]), "is no queue; write JobRegistry"),  # type: ignore[arg-type]
        (lambda: JobRegistry().job(queue=JobQueue("mail")), "queue takes the queue's name"),  # type: ignore[arg-type]
        (lambda: JobRegistry().job(schedule=timedelta(minutes=5)), "schedule takes cron's words"),  # type: ignore[arg-type]
    ],
)
def test_what_is_something_else_is_refused_with_what_to_write(make: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        make()


def test_two_queues_have_two_names() -> None:
    with pytest.raises(ValueError, match="Two queues are named 'mail'"):
        JobRegistry(JobQueue("mail"), JobQueue("mail", concurrency=2))
    assert JobRegistry(JobQueue("default", concurrency=2)).queues["default"].concurrency == 2
