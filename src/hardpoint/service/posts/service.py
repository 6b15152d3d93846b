"""What can be done with posts."""

from typing import Any, Final

from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.errors import NotFound
from sqlalchemy import ColumnElement, Select, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from hardpoint.service.mail.notifier import MailNotifier
from hardpoint.service.posts.models import Post, PostStatus
from hardpoint.service.posts.schemas import NewPost, PostChanges
from hardpoint.service.users.models import User

__all__ = ["STAFF", "Posts"]

STAFF: Final = frozenset({"editor", "admin"})


class Posts:
    """Posts, on one database session.

    Args:
        session: The database session.
        clock: Seconds since the epoch.
    """

    def __init__(self, session: AsyncSession, *, clock: Clock = wall_clock) -> None:
        self._session = session
        self._clock = clock

    def visible_to(self, reader: User | None) -> Select[Any]:
        """A select of what the reader may see: what is published, their own, and everything for the staff."""
        return select(Post).where(_visible_to(reader))

    async def get(self, post_id: int, reader: User | None) -> Post:
        """A post that the reader may see.

        Raises:
            NotFound: There is none, or none for this reader, which look alike.
        """
        found = await self._session.scalars(self.visible_to(reader).where(Post.id == post_id))
        post: Post | None = found.one_or_none()
        if post is None:
            raise NotFound
        return post

    async def add(self, author: User, new: NewPost) -> Post:
        """A new draft."""
        post = Post(
            title=new.title,
            body=new.body,
            status=PostStatus.DRAFT.value,
            author_id=author.id,
            created_at=utc_datetime(self._clock()),
        )
        self._session.add(post)
        await self._session.flush()
        return post

    async def change(self, post: Post, changes: PostChanges) -> Post:
        """Change the members that were sent."""
        for name in changes.model_fields_set:
            setattr(post, name, getattr(changes, name))
        return post

    async def publish(self, post: Post, mails: MailNotifier) -> None:
        """Mark a draft as published, and write to everybody with a proven address but its author."""
        post.status = PostStatus.PUBLISHED.value
        post.published_at = utc_datetime(self._clock())
        readers = select(User).where(User.is_active, User.email_verified, User.id != post.author_id)
        for reader in await self._session.scalars(readers):
            await mails.post_published(self._session, reader, post_id=post.id, title=post.title)

    async def delete(self, post: Post) -> None:
        """Remove a post with its comments."""
        await self._session.delete(post)


def _visible_to(reader: User | None) -> ColumnElement[bool]:
    published = Post.status == PostStatus.PUBLISHED.value
    if reader is None:
        return published
    if reader.role in STAFF:
        return true()
    return or_(published, Post.author_id == reader.id)
