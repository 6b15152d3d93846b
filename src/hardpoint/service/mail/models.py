"""The table of mails that wait."""

from datetime import datetime

from hardpoint.db import BigId, UTCDateTime
from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from hardpoint.service.base import Base

__all__ = ["QueuedMail"]


class QueuedMail(Base):
    """A mail that was written in the same transaction as what it tells of, and is not yet handed over."""

    __tablename__ = "queued_mails"
    __table_args__ = (Index("ix_queued_mails_bulk_due_at", "bulk", "due_at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    recipient: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    bulk: Mapped[bool] = mapped_column(default=False)
    """Whether it is one of many, which wait until none is left that somebody asked for."""
    due_at: Mapped[datetime] = mapped_column(UTCDateTime())
