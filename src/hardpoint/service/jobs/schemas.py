"""Jobs as they go out."""

from typing import Literal

from pydantic import ConfigDict, Field

from hardpoint.service.base import Resource, Timestamp

__all__ = ["JobOut", "QueuedJob"]


class QueuedJob(Resource):
    """A job that was queued."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job_id": "3f2a9c61d4e80b753f2a9c61d4e80b75"}]})

    job_id: str = Field(description="What `GET /jobs/{id}` tells of")


class JobOut(Resource):
    """A durable job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "3f2a9c61d4e80b753f2a9c61d4e80b75",
                    "name": "publish_post",
                    "status": "succeeded",
                    "attempts": 1,
                    "error": None,
                    "queued_at": "2026-11-23T10:00:00.000000Z",
                    "finished_at": "2026-11-23T10:00:01.000000Z",
                },
            ],
        },
    )

    id: str
    name: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    attempts: int = Field(ge=0, description="How often it was tried")
    error: str | None = Field(description="Why the last attempt failed")
    queued_at: Timestamp
    finished_at: Timestamp | None
