"""Who is behind a connection."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from starlette.requests import HTTPConnection

__all__ = ["ANYBODY", "Authenticator", "Identity", "current_identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is behind a connection.

    Attributes:
        user_id: The user, or `None` for anybody.
        session_id: What ends the connection when it is revoked.
        expires_at: When the connection ends unless it authenticates again, in seconds since the epoch; `None` for
            as long as the session.
        rights: What may change without the session's end, such as the role: when it does, guards run again.
    """

    user_id: int | str | None
    session_id: str | None = None
    expires_at: int | None = None
    rights: str | None = None

    def with_rights(self, rights: str) -> "Identity":
        """The same with other rights."""
        return replace(self, rights=rights)


ANYBODY = Identity(None)


async def current_identity(connection: HTTPConnection) -> Identity:
    """Who subscribes, as a dependency for guards.

    Raises:
        RuntimeError: It is used outside of a guard.
    """
    identity: Identity | None = connection.scope.get("hardpoint.identity")
    if identity is None:
        raise RuntimeError("current_identity is for the guards of channels")
    return identity


class Authenticator(Protocol):
    """Says who is behind connections; `hardpoint.realtime.authentication` has the one over `hardpoint.auth`.

    Each raises an `ApiError` when what was brought does not hold.
    """

    async def by_handshake(self, connection: HTTPConnection) -> Identity | None:
        """By the request's headers and cookies; `None` when they bring nothing."""

    async def by_query(self, connection: HTTPConnection, token: str) -> Identity:
        """By `?token=`, which has been in logs and histories."""

    async def by_token(self, connection: HTTPConnection, token: str) -> Identity:
        """By the token of an `auth` message."""

    async def rights(self, identities: Collection[Identity]) -> Mapping[str, str]:
        """The rights of each session that still holds, by its id."""

    def overrides(self, identity: Identity) -> Mapping[Callable[..., Any], Callable[..., Any]]:
        """What to replace in the application's dependencies, so that guards find `identity`."""
