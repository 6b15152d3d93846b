"""Comments as they come in and go out."""

from pydantic import ConfigDict

from hardpoint.service.base import Request, Resource, Text, Timestamp

__all__ = ["CommentOut", "NewComment"]


class NewComment(Request):
    """A comment to write."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"body": "Well said."}]})

    body: Text


class CommentOut(Resource):
    """A comment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 3,
                    "post_id": 1,
                    "author_id": 7,
                    "body": "Well said.",
                    "created_at": "2026-11-23T10:10:00.000000Z",
                },
            ],
        },
    )

    id: int
    post_id: int
    author_id: int
    body: str
    created_at: Timestamp
