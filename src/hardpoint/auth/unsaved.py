"""A session that is kept nowhere."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hardpoint.auth.protocols import UserId
from hardpoint.auth.refresh import new_session_id, new_session_secret

__all__ = ["UnsavedSession"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class UnsavedSession:
    """The session of a user whom a test signs in, or who came with another kind of proof; nothing revokes it."""

    user_id: UserId
    id: str = field(default_factory=new_session_id)
    secret: bytes = field(default_factory=new_session_secret)
    generation: int = 0
    device: str = ""
    address: str = ""
    created_at: datetime = field(default_factory=_now)
    rotated_at: datetime = field(default_factory=_now)
    last_seen_at: datetime = field(default_factory=_now)
    revoked_at: datetime | None = None
