"""What connections may do."""

from dataclasses import dataclass

__all__ = ["Limits"]


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
