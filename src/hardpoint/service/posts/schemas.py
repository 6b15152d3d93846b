"""Posts as they come in and go out."""

from pydantic import ConfigDict, Field

from hardpoint.service.base import Line, Request, Resource, Text, Timestamp
from hardpoint.service.posts.models import PostStatus

__all__ = ["NewPost", "PostChanges", "PostOut"]


class NewPost(Request):
    """A post to write; it begins as a draft."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Hello", "body": "A first post."}]})

    title: Line
    body: Text


class PostChanges(Request):
    """What to change in a post; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Hello again"}]})

    title: Line = Field(default_factory=str, validate_default=False)
    body: Text = Field(default_factory=str, validate_default=False)


class PostOut(Resource):
    """A post."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "title": "Hello",
                    "body": "A first post.",
                    "status": "published",
                    "author_id": 7,
                    "created_at": "2026-11-23T10:00:00.000000Z",
                    "published_at": "2026-11-23T10:05:00.000000Z",
                },
            ],
        },
    )

    id: int
    title: str
    body: str
    status: PostStatus
    author_id: int
    created_at: Timestamp
    published_at: Timestamp | None
