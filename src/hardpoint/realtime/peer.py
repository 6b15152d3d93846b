"""One end of a live connection, whatever carries it."""

from abc import ABC, abstractmethod
from enum import IntEnum

from starlette.requests import HTTPConnection

from hardpoint.realtime.channels import Match
from hardpoint.realtime.frames import Frames
from hardpoint.realtime.identity import Identity
from hardpoint.realtime.subscription import Subscription

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

    __slots__ = ("connection", "identity", "subscriptions")

    def __init__(self, connection: HTTPConnection, identity: Identity) -> None:
        self.connection = connection
        self.identity = identity
        self.subscriptions: dict[str, tuple[Subscription, Match]] = {}

    @property
    @abstractmethod
    def blocked_since(self) -> float | None:
        """Since when, on the loop's clock, the client does not read; `None` when it does."""

    @abstractmethod
    def put(self, channel: str, frames: Frames) -> None:
        """Send frames of `channel`, now or as soon as what is before them is sent."""

    @abstractmethod
    async def flushed(self) -> None:
        """Wait until what was put is sent."""

    @abstractmethod
    def close(self, code: CloseCode, reason: str) -> None:
        """End the connection soon; once."""

    def overflowed(self) -> None:
        """More waits for the client than may: it does not read."""
        self.close(CloseCode.TOO_SLOW, "Too slow a reader")
