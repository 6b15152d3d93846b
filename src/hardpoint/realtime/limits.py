"""What connections may do."""

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["Limits"]

_MAY_BE_NOTHING: Final = {"messages_burst", "stalled_seconds", "closing_seconds"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do, and one user's connections together.

    Attributes:
        authentication_seconds: How long a socket may take to say who it is.
        max_frame_bytes: The largest frame that a client may send; the server should have the same limit.
        messages: How many frames a client may send: `N/second`, `N/minute`, `N/hour`.
        messages_burst: How many at once after a pause.
        max_channels: The most channels of a connection.
        max_connections: The most connections of a user, in this process.
        max_waiting_messages: The most messages that wait for a client to read.
        max_waiting_characters: The most characters that wait.
        stalled_seconds: How long a client may take to read what the network has already accepted.
        closing_seconds: How long it may take to read why it is closed.

    Raises:
        ValueError: A limit is not more than 0; the last two may be 0, and so may
            `messages_burst`, for as many as `messages` says.
    """

    authentication_seconds: float = 5.0
    max_frame_bytes: int = 65_536
    messages: str = "20/second"
    messages_burst: int = 60
    max_channels: int = 100
    max_connections: int = 20
    max_waiting_messages: int = 256
    max_waiting_characters: int = 1_048_576
    stalled_seconds: float = 30.0
    closing_seconds: float = 30.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if limit.name == "messages":
                continue  # A text, which the hub reads.
            if not value >= 0 or (value == 0 and limit.name not in _MAY_BE_NOTHING):
                raise ValueError(f"{limit.name} must be more than 0")
