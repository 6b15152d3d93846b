"""What the service has acknowledged, and so must never lose."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class WrittenPost:
    """A post whose creation was acknowledged.

    Attributes:
        author: Which member wrote it.
        titles: What its title may be: the acknowledged one, and those whose fate is not known.
        job_ids: The jobs that publish it, as acknowledged.
        maybe_published: Whether a publication was asked for, the answer of which was lost.
        maybe_deleted: Whether a deletion was asked for, the answer of which was lost.
        deleted: Whether its deletion was acknowledged.
    """

    author: str
    titles: set[str]
    job_ids: set[str] = field(default_factory=set)
    maybe_published: bool = False
    maybe_deleted: bool = False
    deleted: bool = False

    @property
    def is_settled_draft(self) -> bool:
        return not (self.job_ids or self.maybe_published or self.maybe_deleted or self.deleted)


@dataclass
class Family:
    """A session: its newest tokens, and what has become of its refreshes.

    Attributes:
        access_token: The newest that was received.
        refresh_token: The newest that was received.
        rotations: How many were acknowledged.
        lost: How many were sent since, or before, whose answers were lost.
        first_lost_at: When the first of those was sent that the newest token was used for.
    """

    session_id: str
    access_token: str
    refresh_token: str
    rotations: int = 0
    lost: int = 0
    first_lost_at: float | None = None


@dataclass
class Ledger:
    """All of it; times are on the account's clock."""

    posts: dict[int, WrittenPost] = field(default_factory=dict)
    comments: dict[int, int] = field(default_factory=dict)
    """The post of each."""
    registered: set[str] = field(default_factory=set)
    families: dict[str, Family] = field(default_factory=dict)
    """By session id, those that hold."""
    ended: dict[str, float] = field(default_factory=dict)
    """Access tokens of sessions that were logged out, and when that was acknowledged."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """By what was asked for."""
    unavailable: Counter[str] = field(default_factory=Counter)
    """By what was asked for: answers that say that it could not be done, or not be known."""
    last_success: dict[str, float] = field(default_factory=dict)
    """When each member last got what they asked for."""

    @property
    def jobs(self) -> dict[str, int]:
        """The post of each acknowledged job."""
        return {job_id: post_id for post_id, post in self.posts.items() for job_id in post.job_ids}

    @property
    def published(self) -> set[int]:
        """The posts whose publication was acknowledged."""
        return {post_id for post_id, post in self.posts.items() if post.job_ids}
