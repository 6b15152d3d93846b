"""What is known of a job that was enqueued."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = ["JobInfo", "JobStatus"]

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job in the database.

    Attributes:
        id: Its id.
        name: Which job.
        status: Where it is; one that waits for its next attempt is `queued`.
        attempts: How often it was tried since it was enqueued or begun again, with the attempt that is under way.
        error: Why the last attempt failed; `None` while none has.
        progress: What the job told of itself, 0 to 1.
        principal: Who enqueued it, as in `hardpoint.context.principal`.
        queued_at: When it was enqueued.
        due_at: When the attempt that it waits for, or that is under way, was to begin at the earliest; `None` for at
            once, and when it has ended.
        finished_at: When it ended.
    """

    id: str
    name: str
    status: JobStatus
    attempts: int
    error: str | None
    progress: float | None
    principal: str | None
    queued_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
