"""The table of posts."""

from datetime import datetime
from enum import StrEnum

from hardpoint.db import BigId, UTCDateTime
from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from hardpoint.service.base import Base

__all__ = ["Post", "PostStatus"]


class PostStatus(StrEnum):
    """Where a post is in its life."""

    DRAFT = "draft"
    PUBLISHED = "published"


class Post(Base):
    """A text by a user, seen by its author and the staff until it is published."""

    __tablename__ = "posts"
    # What the listing walks: newest first, the id deciding between equal times.
    __table_args__ = (Index("ix_posts_created_at_id", "created_at", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default=PostStatus.DRAFT.value)
    author_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime())
    published_at: Mapped[datetime | None] = mapped_column(UTCDateTime())
