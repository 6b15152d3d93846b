"""Mixins that give an application's own SQLAlchemy models what auth stores.

class User(UserMixin, Base):
    __tablename__ = "users"
    newsletter: Mapped[bool] = mapped_column(default=False)

class AuthSession(AuthSessionMixin, Base):
    __tablename__ = "auth_sessions"
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import JSON, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from hardpoint.auth.email import MAX_KEY_LENGTH
from hardpoint.db import BigId, UTCDateTime

__all__ = ["ApiKeyMixin", "AuthSessionMixin", "OneTimeTokenMixin", "UUIDUserMixin", "UserMixin"]


class _UserColumns:
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(MAX_KEY_LENGTH), unique=True)
    name: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    is_active: Mapped[bool] = mapped_column(default=True)
    email_verified: Mapped[bool] = mapped_column(default=False)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime())


class UserMixin(_UserColumns):
    """A user with a number. `email_key` is what is unique; `email` is where mail goes."""

    id: Mapped[int] = mapped_column(BigId, primary_key=True, sort_order=-1)


class UUIDUserMixin(_UserColumns):
    """A user with a random UUID."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4, sort_order=-1)


class _OwnedByUser:
    # Of the user's model, the table with its schema; `AuthModels.beside` sets them.
    __user_table__ = "users"
    __user_id_column__ = "id"
    __user_id_type__: Any = BigId

    @declared_attr
    @classmethod
    def user_id(cls) -> Mapped[Any]:
        owner = ForeignKey(f"{cls.__user_table__}.{cls.__user_id_column__}", ondelete="CASCADE")
        return mapped_column(cls.__user_id_type__, owner, index=True, nullable=False)


class AuthSessionMixin(_OwnedByUser):
    """A login, and the family of refresh tokens that it began; `hardpoint.auth.refresh` says what the secret is for."""

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary(32))
    generation: Mapped[int] = mapped_column(default=0)
    rotated_at: Mapped[datetime] = mapped_column(UTCDateTime())
    device: Mapped[str] = mapped_column(String(256))
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime(), index=True)
    last_seen_at: Mapped[datetime] = mapped_column(UTCDateTime())
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime())


class OneTimeTokenMixin(_OwnedByUser):
    """A token that is good once: of a verification or reset mail, a WebSocket ticket. Only its digest is stored."""

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16))
    session_id: Mapped[str | None] = mapped_column(String(32))
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime(), index=True)


class ApiKeyMixin:
    """A key for a program. Only the digest of its secret is stored."""

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime())
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime())
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime())
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime())
