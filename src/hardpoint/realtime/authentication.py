"""Sockets authenticated by `hardpoint.auth`: the same chain of dependencies that guards the routes."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends
from fastapi.dependencies.utils import get_dependant
from starlette.requests import HTTPConnection

from hardpoint import context
from hardpoint.auth import (
    AccessClaims,
    Auth,
    Credentials,
    Principal,
    UnsavedSession,
    UserId,
    credentials,
    get_auth,
    optional_principal,
    parse_user_id,
)
from hardpoint.db import Database, Session
from hardpoint.errors import InvalidToken
from hardpoint.realtime.identity import Identity
from hardpoint.resolving import Overrides, resolved

__all__ = ["SessionAuthenticator"]

T = TypeVar("T")

AuthOf = Annotated[Auth[Any], Depends(get_auth)]
_IDS_IN_A_QUERY: Final = 500


class SessionAuthenticator:
    """An `Authenticator` over the application's `Auth`.

    Args:
        auth: The application's auth.
        database: Where its sessions are; asked every other second which of the connected ones still hold.
        query_access_tokens: Whether `?token=` may be an access token. A ticket of `POST /auth/ws-ticket` always may:
            it is good once and for seconds, so that what a log or a history keeps of it is worth nothing.
    """

    def __init__(self, auth: Auth[Any], database: Database, *, query_access_tokens: bool = False) -> None:
        self._auth = auth
        self._database = database
        self._query_access_tokens = query_access_tokens

    async def by_handshake(self, connection: HTTPConnection) -> Identity | None:
        """By an `Authorization` header, or by the session cookie together with an allowed `Origin`.

        A cookie that no longer holds is no reason to refuse: a page cannot remove it, and may bring a token.

        Raises:
            InvalidToken: The header's token does not hold.
            Forbidden: A cookie without an allowed `Origin`.
        """
        try:
            return await _call(connection, _by_chain, {})
        except InvalidToken:
            if "authorization" in connection.headers:
                raise
            return None

    async def by_query(self, connection: HTTPConnection, token: str) -> Identity:
        """By a ticket or, where that is allowed, an access token.

        Raises:
            InvalidToken: It does not hold.
        """
        if "." not in token:
            return await _call(connection, _ticket_taker(token), {})
        if not self._query_access_tokens:
            raise InvalidToken
        return await self.by_token(connection, token)

    async def by_token(self, connection: HTTPConnection, token: str) -> Identity:
        """By an access token.

        Raises:
            InvalidToken: It does not hold.
        """

        async def sent_in_a_message() -> Credentials:
            return Credentials(bearer=token)

        identity = await _call(connection, _by_chain, {credentials: sent_in_a_message})
        if identity is None:
            raise InvalidToken
        return identity

    async def rights(self, identities: Collection[Identity]) -> Mapping[str, str]:
        """The role of each session that still holds, by its id."""
        ids = [identity.session_id for identity in identities if identity.session_id is not None]
        found: dict[str, str] = {}
        async with self._database.session() as session:
            store, now = self._auth.store(session), self._auth.now()
            for start in range(0, len(ids), _IDS_IN_A_QUERY):
                some = ids[start : start + _IDS_IN_A_QUERY]
                found.update(
                    await store.living_roles(some, now=now, lifetime=self._auth.lifetime, idle=self._auth.idle)
                )
        return found

    def overrides(self, identity: Identity) -> Mapping[Callable[..., Any], Callable[..., Any]]:
        """A guard's `current_user` is the socket's, as the database has them now."""
        user_id, session_id = parse_user_id(str(identity.user_id)), identity.session_id
        if session_id is None or user_id is None:
            return {}
        claims = AccessClaims(user_id, session_id, token_id="", expires_at=identity.expires_at or 0)

        async def principal_of_the_socket(session: Session, auth: AuthOf) -> Principal[Any]:
            found = await auth.authenticate(session, claims)
            return Principal(found.user, found.session, identity.expires_at)

        return {optional_principal: principal_of_the_socket}


async def _by_chain(principal: Annotated[Principal[Any] | None, Depends(optional_principal)]) -> Identity | None:
    return None if principal is None else _identity_of(principal)


def _ticket_taker(ticket: str) -> Callable[..., Awaitable[Identity]]:
    async def by_ticket(session: Session, auth: AuthOf) -> Identity:
        found = await auth.take_ws_ticket(session, ticket)
        context.principal.set(f"user:{found.user.id}")
        # A ticket opens no more than the token that it stands for would.
        expires_at = int(auth.now().timestamp()) + auth.tokens.ttl_seconds
        return _identity_of(Principal(found.user, found.session, expires_at))

    return by_ticket


def _identity_of(principal: Principal[Any]) -> Identity:
    # A test's user may act in a session that is in no database, which nothing can revoke.
    session_id = None if isinstance(principal.session, UnsavedSession) else principal.session.id
    user_id: UserId = principal.user.id
    return Identity(
        user_id if isinstance(user_id, int) else str(user_id), session_id, principal.expires_at, principal.user.role
    )


async def _call(
    connection: HTTPConnection,
    function: Callable[..., Awaitable[T]],
    overrides: Mapping[Callable[..., Any], Callable[..., Any]],
) -> T:
    app = connection.scope.get("app")
    everything = Overrides({**overrides, **getattr(app, "dependency_overrides", {})})
    async with resolved(get_dependant(path="/", call=function), connection.scope, overrides=everything) as values:
        return await function(**values)
