"""What can be done with comments."""

from typing import Any

from hardpoint.clock import Clock, utc_datetime, wall_clock
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint.service.comments.models import Comment
from hardpoint.service.comments.schemas import NewComment
from hardpoint.service.posts.models import Post
from hardpoint.service.users.models import User

__all__ = ["Comments"]


class Comments:
    """Comments, on one database session.

    Args:
        session: The database session.
        clock: Seconds since the epoch.
    """

    def __init__(self, session: AsyncSession, *, clock: Clock = wall_clock) -> None:
        self._session = session
        self._clock = clock

    def of(self, post: Post) -> Select[Any]:
        """A select of a post's comments, for a listing."""
        return select(Comment).where(Comment.post_id == post.id)

    async def add(self, post: Post, author: User, new: NewComment) -> Comment:
        """A new comment."""
        created_at = utc_datetime(self._clock())
        comment = Comment(post_id=post.id, author_id=author.id, body=new.body, created_at=created_at)
        self._session.add(comment)
        await self._session.flush()
        return comment
