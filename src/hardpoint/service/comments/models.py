"""The table of comments."""

from datetime import datetime

from hardpoint.db import BigId, UTCDateTime
from sqlalchemy import ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from hardpoint.service.base import Base

__all__ = ["Comment"]


class Comment(Base):
    """What a user says about a post."""

    __tablename__ = "comments"
    __table_args__ = (Index("ix_comments_post_id_created_at_id", "post_id", "created_at", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    post_id: Mapped[int] = mapped_column(BigId, ForeignKey("posts.id", ondelete="CASCADE"))
    author_id: Mapped[int] = mapped_column(BigId, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime())
