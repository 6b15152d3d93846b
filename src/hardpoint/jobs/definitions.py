"""Jobs as they are declared: a function, how often it is tried, where it waits."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Annotated, Any, Final, Generic, ParamSpec

from fastapi import Depends

from hardpoint.arguments import check_argument
from hardpoint.jobs.calling import Call

__all__ = [
    "DEFAULT_QUEUE",
    "GiveUp",
    "Job",
    "JobError",
    "JobQueue",
    "JobRegistry",
    "JobRun",
    "RetryPolicy",
    "RunningJob",
    "running_job",
]

P = ParamSpec("P")

_RESERVED: Final = {"job", "session", "delay", "priority", "idempotency_key"}
DEFAULT_QUEUE: Final = "default"
_MAX_NAME_LENGTH: Final = 200
# Decides when, never what: nothing secret depends on it.
_random = random.Random()  # noqa: S311 - see above.


class JobError(Exception):
    """A job could not do its work; its text is shown to whoever may see the job. It is tried again.

    Of any other exception only the class is shown, because its text may hold what nobody should see.
    """


class GiveUp(JobError):
    """A job cannot do its work, and trying again would not help."""


@dataclass(frozen=True, slots=True)
class JobQueue:
    """Where jobs wait.

    Attributes:
        name: Its name.
        concurrency: How many of its jobs run at once in one worker, 1 or more. One that waits for its next attempt does
            not count.
        total_concurrency: How many run at once in all workers together, 1 or more; `None` for no limit.

    Raises:
        ValueError: It has no name, or a limit is less than 1.
    """

    name: str = DEFAULT_QUEUE
    concurrency: int = 20
    total_concurrency: int | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith("_"):
            raise ValueError(f"A queue's name must not be empty or begin with an underscore, and {self.name!r} does")
        if self.concurrency < 1 or (self.total_concurrency is not None and self.total_concurrency < 1):
            raise ValueError(f"A queue runs at least one job at once, and {self.name!r} would not")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a job is tried, and how long it waits in between.

    Attributes:
        attempts: How often it is tried at most.
        backoff_seconds: The pause after the first failed attempt; each further one is twice as long.
        max_backoff_seconds: The longest pause.
        jitter: By which part a pause varies at random, 0 to 1, so that what failed together does not return together.

    Raises:
        ValueError: A number is out of range.
    """

    attempts: int = 5
    backoff_seconds: float = 2.0
    max_backoff_seconds: float = 3_600.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        pauses_grow = 0 <= self.backoff_seconds <= self.max_backoff_seconds < inf
        if self.attempts < 1 or not pauses_grow or not 0 <= self.jitter <= 1:
            raise ValueError("attempts must be at least 1, pauses not negative and growing, jitter between 0 and 1")

    def pause_after(self, attempt: int, *, chance: random.Random = _random) -> float:
        """The pause after the failed `attempt`, in seconds: `backoff * 2 ** (attempt - 1)`, bounded, with jitter."""
        pause = min(self.backoff_seconds * 2 ** min(attempt - 1, 60), self.max_backoff_seconds)
        return float(pause * (1 + self.jitter * chance.uniform(-1, 1)))


class RunningJob:
    """The job that runs at the moment, for the job itself; see `JobRun`.

    Args:
        job_id: Its id.
        attempt: Which attempt this is, from 1.
        tell_progress: Stores the progress.
    """

    def __init__(self, job_id: str, attempt: int, tell_progress: Callable[[float], Awaitable[None]]) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self._tell_progress = tell_progress

    async def progress(self, done: float) -> None:
        """Say how much is done, 0 to 1."""
        if not 0 <= done <= 1:
            raise ValueError("Progress is between 0 and 1")
        await self._tell_progress(done)


running_job: ContextVar[RunningJob] = ContextVar("running_job")


async def _current_run() -> RunningJob:
    return running_job.get()


JobRun = Annotated[RunningJob, Depends(_current_run)]
"""For a parameter of a job: its id, which attempt this is, and `await run.progress(0.5)`."""


class Job(Generic[P]):
    """A declared job. Calling it calls the function, here and now, as tests like to.

    Attributes:
        name: What it is called in the database: renaming the function does not lose what waits.
        queue: Where it waits.
        retry: How often it is tried, and how long it waits in between.
        timeout_seconds: After which an attempt has failed.
        exactly_once: Whether the session's transaction and the engine's note that the job is done are one.
        schedule: When it is enqueued by itself, in cron's words and UTC; `None` for never.
    """

    def __init__(
        self,
        function: Callable[P, Awaitable[None]],
        *,
        name: str,
        queue: str,
        retry: RetryPolicy,
        timeout_seconds: float,
        exactly_once: bool,
        schedule: str | None,
    ) -> None:
        if not name or len(name) > _MAX_NAME_LENGTH:
            raise ValueError(f"A job's name has 1 to {_MAX_NAME_LENGTH} characters")
        if not 0 < timeout_seconds < inf:
            raise ValueError("timeout_seconds must be more than 0, and finite")
        self.call = Call(function)
        if reserved := sorted(_RESERVED & set(self.call.argument_names)):
            raise ValueError(f"The argument {reserved[0]!r} is what `enqueue` itself takes; call it something else")
        if schedule is not None:
            self.call.encode({})  # A scheduled job is enqueued without arguments.
        self._function = function
        self.name = name
        self.queue = queue
        self.retry = retry
        self.timeout_seconds = timeout_seconds
        self.exactly_once = exactly_once
        self.schedule = schedule

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        await self._function(*args, **kwargs)


class JobRegistry:
    """The jobs that an application has.

    Args:
        *queues: The queues that they wait in, besides `default`, whose limits one of that name changes.

    Raises:
        ValueError: Two queues have one name.
        TypeError: One of them is no `JobQueue`.
    """

    def __init__(self, *queues: JobQueue) -> None:
        queue: Any
        for queue in queues:
            if not isinstance(queue, JobQueue):
                raise TypeError(f"{queue!r} is no queue; write JobRegistry(JobQueue('mail'), ...)")
        names = [queue.name for queue in queues]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"Two queues are named {repeated[0]!r}")
        self.queues = {queue.name: queue for queue in (JobQueue(), *queues)}
        self._jobs: dict[str, Job[Any]] = {}

    def __iter__(self) -> Iterator[Job[Any]]:
        return iter(self._jobs.values())

    def add_queue(self, queue: JobQueue) -> JobQueue:
        """One more queue, for a part that brings its own.

        Raises:
            ValueError: There is a queue with its name.
        """
        if queue.name in self.queues:
            raise ValueError(f"There is a queue with the name {queue.name!r} already")
        self.queues[queue.name] = queue
        return queue

    def get(self, name: str) -> Job[Any] | None:
        """The job with this name."""
        return self._jobs.get(name)

    def job(
        self,
        *,
        name: str | None = None,
        queue: str = DEFAULT_QUEUE,
        attempts: int = 5,
        backoff_seconds: float = 2.0,
        max_backoff_seconds: float = 3_600.0,
        jitter: float = 0.2,
        timeout_seconds: float = 300.0,
        exactly_once: bool = False,
        schedule: str | None = None,
    ) -> Callable[[Callable[P, Awaitable[None]]], Job[P]]:
        """Declare an async function as a job; see `Job` and `RetryPolicy` for the arguments.

        A job runs at least once: a process that dies between a job's work and the note that it is done makes another
        one do it again. With `exactly_once` both are one transaction, for what the job does with its `Session`.

        Raises:
            ValueError: The name is taken, the queue is not declared, or a number is out of range.
            TypeError: The function cannot be a job, the queue is not told by its name, or the schedule is no text.
        """
        retry = RetryPolicy(attempts, backoff_seconds, max_backoff_seconds, jitter)
        check_argument("queue", queue, str, "the queue's name, such as 'mail'")
        check_argument("schedule", schedule, str | None, "cron's words, such as '*/5 * * * *'")
        if queue not in self.queues:
            raise ValueError(f"The queue {queue!r} is not declared; declared are {', '.join(sorted(self.queues))}")

        def declare(function: Callable[P, Awaitable[None]]) -> Job[P]:
            job = Job(
                function,
                name=name or str(getattr(function, "__name__", "")),
                queue=queue,
                retry=retry,
                timeout_seconds=timeout_seconds,
                exactly_once=exactly_once,
                schedule=schedule,
            )
            if job.name in self._jobs:
                raise ValueError(f"There is a job with the name {job.name!r} already")
            self._jobs[job.name] = job
            return job

        return declare
