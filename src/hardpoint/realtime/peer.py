"""One end of a live connection, whatever carries it."""

from abc import ABC, abstractmethod
from enum import IntEnum

from starlette.requests import HTTPConnection

from hardpoint.realtime.channels import Match
from hardpoint.realtime.feed import Subscription
from hardpoint.realtime.identity import Identity

__all__ = ["CloseCode", "Peer"]


class CloseCode(IntEnum):
    """Why the server closes a socket (RFC 6455, section 7.4; from 4000 on our own)."""

    TOO_BIG = 1009
    RESTART = 1012
    NOT_AUTHENTICATED = 4001
    SESSION_ENDED = 4003
    TOO_SLOW = 4008
    TOO_MANY = 4029


class Peer(ABC):
    """A client that receives channels.

    Args:
        connection: The request or WebSocket, for the guards' dependencies.
        identity: Who it is.
    """

    def __init__(self, connection: HTTPConnection, identity: Identity) -> None:
        self.connection = connection
        self.identity = identity
        self.subscriptions: dict[str, tuple[Subscription, Match]] = {}

    @property
    def blocked_since(self) -> float | None:
        """Since when, on the loop's clock, the client does not read; `None` when it does."""
        return None

    @abstractmethod
    def put(self, channel: str, offset: int, text: str) -> None:
        """Send the text of a frame of `channel`, now or as soon as what is before it is sent."""

    @abstractmethod
    async def flushed(self) -> None:
        """Wait until what was put is sent."""

    @abstractmethod
    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection soon; once."""

    def overflowed(self) -> None:
        """More waits for the client than may: it does not read."""
        self.close(CloseCode.TOO_SLOW, "Too slow a reader")
