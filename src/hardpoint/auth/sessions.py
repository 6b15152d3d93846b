"""Sessions: begun by a login, refreshed, looked at with every request, ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from hardpoint.auth.api_keys import digest
from hardpoint.auth.base import AuthBase, Client, S, U
from hardpoint.auth.email import email_key
from hardpoint.auth.protocols import AuthSession, AuthStore, SessionAndUser, UserId
from hardpoint.auth.refresh import SessionToken, new_session_id, new_session_secret
from hardpoint.auth.tokens import AccessClaims
from hardpoint.errors import InvalidCredentials, InvalidToken, NotFound, TokenReused
from hardpoint.log import get_logger

__all__ = ["Sessions", "TokenPair"]

logger = get_logger("hardpoint.auth")

_SEEN_RESOLUTION: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token, the refresh token that renews it, and the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Sessions(AuthBase[U, S]):
    """What an `Auth` does with sessions."""

    async def log_in(self, session: S, *, email: str, password: str, client: Client) -> SessionAndUser[U]:
        """A new session for the account with this address and password.

        Commits what `session` wrote before, so that no connection is held while the password is hashed.

        Raises:
            InvalidCredentials: For every reason alike, after the same work.
            RateLimited: Too many failures from this address or for this account.
        """
        account = email_key(email)
        if self._limiter is not None:
            await self._limiter.attempt(address=client.address, account=account)
        store = self.store(session)
        user = await store.user_by_email(email)
        # The commit may expire the row.
        user_id, known_hash = (None, None) if user is None else (user.id, user.password_hash)
        may_log_in = user is not None and user.is_active and (user.email_verified or not self._require_verified_email)
        # So that no connection is held while a password is hashed.
        await store.commit()
        ok, new_hash = await self._hasher.verify(password, known_hash)
        if not ok or user_id is None or not may_log_in:
            logger.warning("login_failed", client=client.address, account=_pseudonym(account))
            raise InvalidCredentials
        if self._limiter is not None:
            await self._limiter.succeeded(address=client.address, account=account)
        # Meanwhile the password may have been changed, and the sessions that it had ended, or the user disabled.
        user = await store.locked_user(user_id)
        if user is None or not user.is_active or user.password_hash != known_hash:
            logger.warning("login_failed", client=client.address, account=_pseudonym(account))
            raise InvalidCredentials
        if new_hash is not None:
            await store.set_password(user, new_hash)
            # Whoever changes the password has to know the hash.
            self._user_changed(store, user.id)
        now = self.now()
        auth_session = await store.add_session(
            id=new_session_id(),
            user_id=user.id,
            secret=new_session_secret(),
            generation=0,
            device=client.device[:256],
            address=client.address[:64],
            created_at=now,
            rotated_at=now,
            last_seen_at=now,
        )
        logger.info("login_succeeded", user_id=user.id, session_id=auth_session.id, client=client.address)
        return SessionAndUser(auth_session, user)

    def tokens_of(self, auth_session: AuthSession, generation: int | None = None) -> TokenPair:
        """An access token and the refresh token of `generation`, by default the session's newest."""
        newest = auth_session.generation if generation is None else generation
        return TokenPair(
            access_token=self.tokens.issue(user_id=auth_session.user_id, session_id=auth_session.id),
            refresh_token=self._secrets.refresh_token(auth_session.id, auth_session.secret, newest),
            expires_in=self.tokens.ttl_seconds,
        )

    def cookie_of(self, auth_session: AuthSession) -> str:
        """The value of the session's cookie."""
        return self._secrets.cookie(auth_session.id, auth_session.secret)

    async def refresh(self, session: S, refresh_token: str) -> TokenPair:
        """A new pair for a refresh token, which is then used up.

        The token before the newest gives the newest again within the grace. Any older one, or the same one later, is
        taken for stolen: the session ends, and that is committed although the answer is an error.

        Raises:
            InvalidToken: It is none of ours, or its session is over.
            TokenReused: It had been used before.
        """
        token, store, now = SessionToken.parse(refresh_token), self.store(session), self.now()
        found = None if token is None else await self._living(store, token.session_id)
        if token is None or found is None or not self._secrets.is_refresh_token(token, found.session.secret):
            raise InvalidToken
        if token.generation == found.session.generation:
            if await store.rotate(token.session_id, generation=token.generation, now=now):
                return self.tokens_of(found.session, token.generation + 1)
            # Another request took the step between our read and our write.
            found = await self._living(store, token.session_id)
            if found is None:
                raise InvalidToken
        # Who took the step may have read a later time: before this request waited for them, or on another clock.
        in_grace = max(now - found.session.rotated_at, timedelta(0)) < self._grace
        if token.generation == found.session.generation - 1 and in_grace:
            return self.tokens_of(found.session)
        user_id = found.user.id
        self._user_changed(store, user_id)
        await store.revoke_session(token.session_id, now=now)
        # The exception rolls back what is not committed.
        await store.commit()
        logger.warning("refresh_reused", user_id=user_id, session_id=token.session_id)
        raise TokenReused

    async def authenticate(self, session: S, claims: AccessClaims) -> SessionAndUser[U]:
        """The living session and active user of a verified access token, as the database has them now.

        Raises:
            InvalidToken: The session is over, or the user is gone, disabled or another.
        """
        cache, store, now = self._cache, self.store(session), self.now()
        mark = None
        if cache is not None:
            # An entry of another user is not believed, but looked up like any that is missing.
            found = cache.get(store, claims.session_id, now=now, user_id=claims.user_id)
            if found is not None:
                return found
            mark = cache.mark()
        found = await self._living(store, claims.session_id)
        if found is not None and cache is not None and mark is not None:
            # A day is more than any entry lives, and a lifetime without end cannot be added to a time.
            left = min(self._left_of(found.session, now), timedelta(days=1))
            cache.keep(store, found, mark=mark, ends_at=now + left)
        if found is None or found.user.id != claims.user_id:
            raise InvalidToken
        return found

    async def authenticate_cookie(self, session: S, value: str) -> SessionAndUser[U]:
        """The living session and active user of a session cookie, which this keeps from growing idle.

        Raises:
            InvalidToken: It is none of ours, or its session is over.
        """
        token, store, now = SessionToken.parse(value), self.store(session), self.now()
        found = None if token is None else await self._living(store, token.session_id)
        if token is None or found is None or not self._secrets.is_cookie(token, found.session.secret):
            raise InvalidToken
        # A cookie is never refreshed; a write for each request would cost more than a minute's precision is worth.
        if now - found.session.last_seen_at >= min(_SEEN_RESOLUTION, self.idle / 10):
            await store.see_session(token.session_id, now=now)
        return found

    async def log_out(self, session: S, session_id: str) -> None:
        """End a session; its tokens and its cookie stop working with the next request, in every process."""
        user_id = await self.store(session).revoke_session(session_id, now=self.now())
        if user_id is not None:
            self.user_changed(session, user_id)
            logger.info("session_revoked", session_id=session_id)

    async def session_of_refresh_token(self, session: S, refresh_token: str) -> str | None:
        """The id of the session of a refresh token of any generation, for a logout without an access token."""
        token = SessionToken.parse(refresh_token)
        found = None if token is None else await self._living(self.store(session), token.session_id)
        if token is None or found is None or not self._secrets.is_refresh_token(token, found.session.secret):
            return None
        return token.session_id

    async def revoke_own_session(self, session: S, *, user_id: UserId, session_id: str) -> None:
        """End one of the user's own sessions.

        Raises:
            NotFound: The user has no such living session.
        """
        if await self.store(session).revoke_session(session_id, now=self.now(), user_id=user_id) is None:
            raise NotFound
        self.user_changed(session, user_id)
        logger.info("session_revoked", session_id=session_id)

    async def _living(self, store: AuthStore[U], session_id: str) -> SessionAndUser[U] | None:
        found = await store.session_by_id(session_id)
        return found if found is not None and self._is_living(found) else None

    def _is_living(self, found: SessionAndUser[U]) -> bool:
        auth_session = found.session
        is_over = self._left_of(auth_session, self.now()) <= timedelta(0)
        return auth_session.revoked_at is None and found.user.is_active and not is_over

    def _left_of(self, auth_session: AuthSession, now: datetime) -> timedelta:
        return min(self.lifetime - (now - auth_session.created_at), self.idle - (now - auth_session.last_seen_at))

    async def new_ws_ticket(self, session: S, user: U, session_id: str) -> str:
        """A ticket that opens one WebSocket within 30 seconds."""
        return await self._new_token(self.store(session), user, "ws_ticket", session_id=session_id)

    async def take_ws_ticket(self, session: S, ticket: str) -> SessionAndUser[U]:
        """The session of a ticket, which is then used up: that is committed, with what `session` wrote before.

        Raises:
            InvalidToken: It is unknown, used or expired, or its session is over.
        """
        store = self.store(session)
        taken = await store.take_token(digest(ticket), purpose="ws_ticket", now=self.now())
        # Used up even if what follows fails.
        await store.commit()
        found = None
        if taken is not None and taken.session_id is not None:
            found = await self._living(store, taken.session_id)
        if found is None:
            raise InvalidToken
        return found


def _pseudonym(account: str) -> str:
    # Enough to see that failures concern one account, without writing addresses into logs.
    return sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:12]
