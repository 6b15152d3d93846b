"""What auth does: register, verify, log in, refresh, log out, reset; no HTTP."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, Final, Generic, Literal

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeVar

from hardpoint.auth.api_keys import ApiKeys, digest
from hardpoint.auth.cache import PrincipalCache
from hardpoint.auth.email import email_key
from hardpoint.auth.keys import Key, KeySet
from hardpoint.auth.passwords import PasswordHasher, PasswordPolicy
from hardpoint.auth.protocols import (
    AuthNotifier,
    AuthSession,
    AuthStore,
    AuthUser,
    LoginLimiter,
    SessionAndUser,
    UserId,
)
from hardpoint.auth.refresh import SessionSecrets, SessionToken, new_session_id, new_session_secret
from hardpoint.auth.sqlalchemy import AuthModels, SQLAlchemyStore
from hardpoint.auth.tokens import AccessClaims, AccessTokens
from hardpoint.clock import Clock, utc_datetime, wall_clock
from hardpoint.errors import (
    FieldError,
    InvalidCredentials,
    InvalidToken,
    NotFound,
    TokenReused,
    ValidationFailed,
)
from hardpoint.log import get_logger

__all__ = ["Auth", "Client", "TokenPair"]

U = TypeVar("U", bound=AuthUser, default=AuthUser)
S = TypeVar("S", default=AsyncSession)
Purpose = Literal["verify_email", "reset_password", "ws_ticket"]

logger = get_logger("hardpoint.auth")

WS_TICKET_SECONDS: Final = 30
_MIN_SECRET_BYTES: Final = 32
_SEEN_RESOLUTION: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Client:
    """Where a login comes from, for the list of sessions and the limits."""

    address: str
    device: str


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token, the refresh token that renews it, and the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Auth(Generic[U, S]):
    """Accounts and sessions over the application's own models, or over a store of its own.

    Held in the lifespan's state under the name `auth`, where the dependencies of `hardpoint.auth` find it:
    `Resource.constant("auth", Auth(...))`, or `auth_lifespan(Auth(...), url)` for all that it needs.

    `session` is in every method the transaction of whoever calls: SQLAlchemy's `AsyncSession`, or what `store` takes.

    Args:
        models: The application's SQLAlchemy models.
        store: Instead of `models`, makes a store of a session: what implements `AuthStore`.
        secret: The service's secret, 32 bytes or more; refresh tokens and cookies are derived from it.
        tokens: Issues and verifies access tokens; by default by HS256 with the secret. Services that share a secret
            need `tokens` with an issuer and an audience of their own, or they accept each other's.
        hasher: Hashes passwords; argon2 in as many threads as there are processors by default.
        policy: What a new password must be; 15 characters that are not easily guessed by default.
        notifier: How users are told. Without one nobody is, and addresses cannot be verified.
        limiter: What slows down guessing; none by default.
        default_role: The role of a registered user.
        require_verified_email: Whether an account whose address is not proven may not log in.
        idle_seconds: After which a session that was not refreshed is over.
        lifetime_seconds: After which a session is over, whatever happened in it.
        grace_seconds: For how long the token before the newest still gives the newest: a client whose answer was
            lost, or whose tabs refresh together, is not a thief. 0 is strict.
        verification_seconds: The life of a verification mail's token.
        reset_seconds: The life of a reset mail's token.
        cache: Keeps who a token is of for a few seconds; without one, every request reads it.
        clock: Seconds since the epoch.

    Raises:
        ValueError: The secret is too short, a life is not positive, there is not exactly one of `models` and `store`,
            or addresses would have to be verified and nobody could be told.
    """

    def __init__(
        self,
        *,
        models: AuthModels[U] | None = None,
        store: Callable[[S], AuthStore[U]] | None = None,
        secret: bytes,
        tokens: AccessTokens | None = None,
        hasher: PasswordHasher | None = None,
        policy: PasswordPolicy | None = None,
        notifier: AuthNotifier[U, S] | None = None,
        limiter: LoginLimiter | None = None,
        default_role: str = "user",
        require_verified_email: bool = True,
        idle_seconds: int = 2_592_000,
        lifetime_seconds: int = 7_776_000,
        grace_seconds: int = 10,
        verification_seconds: int = 86_400,
        reset_seconds: int = 3_600,
        cache: PrincipalCache | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        if notifier is None and require_verified_email:
            raise ValueError("Without a notifier no address can be verified: give one, or require_verified_email=False")
        if len(secret) < _MIN_SECRET_BYTES:
            raise ValueError(f"The secret must be at least {_MIN_SECRET_BYTES} bytes long")
        if min(idle_seconds, lifetime_seconds, verification_seconds, reset_seconds) < 1 or grace_seconds < 0:
            raise ValueError("Lives must be at least one second, and grace_seconds not negative")
        self.models = models
        self.store = _store_maker(models, store)
        self.tokens = tokens or AccessTokens(
            KeySet(Key.from_secret(secret)), issuer="hardpoint", audience="hardpoint", clock=clock
        )
        self._secret = secret
        self._secrets = SessionSecrets(secret)
        self._hasher = hasher or PasswordHasher()
        self.policy = policy or PasswordPolicy()
        self._notifier = notifier
        self._limiter = limiter
        self._default_role = default_role
        self._require_verified_email = require_verified_email
        self.idle = timedelta(seconds=idle_seconds)
        self.lifetime = timedelta(seconds=lifetime_seconds)
        self._grace = timedelta(seconds=grace_seconds)
        self._one_time_life = {
            "verify_email": timedelta(seconds=verification_seconds),
            "reset_password": timedelta(seconds=reset_seconds),
            "ws_ticket": timedelta(seconds=WS_TICKET_SECONDS),
        }
        self._cache = cache
        self._clock = clock
        self.api_keys: ApiKeys[S] = ApiKeys(self.store, self.now)

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return utc_datetime(self._clock())

    def derived_key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the secret, so that no two purposes share one."""
        return hmac.digest(self._secret, b"hardpoint " + purpose.encode(), sha256)

    # Accounts

    async def register(self, session: S, *, email: str, password: str, **columns: object) -> None:
        """Make an account and send a verification mail, or tell the owner when the address has one.

        Does the same work and returns the same nothing in both cases.

        Args:
            session: The request's database session.
            email: A valid address.
            password: What the user chose.
            **columns: Further columns of the application's user model.

        Raises:
            ValidationFailed: The password does not meet the policy.
        """
        accepted = await self.policy.check(password, about_user=_about(email, columns.get("name")))
        password_hash = await self._hasher.hash(accepted)
        store = self.store(session)
        user = await store.add_user(
            email=email,
            created_at=self.now(),
            role=self._default_role,
            is_active=True,
            email_verified=False,
            password_hash=password_hash,
            **columns,
        )
        if user is not None:
            logger.info("account_registered", user_id=user.id)
            if self._notifier is not None:
                token = await self._new_token(store, user, "verify_email")
                await self._notifier.verify_email(session, user, token)
            return
        known = await store.user_by_email(email)
        if known is not None and self._notifier is not None:
            await self._notifier.already_registered(session, known)

    async def create_user(self, session: S, *, email: str, password: str, role: str, **columns: object) -> U:
        """An account made by an operator: verified, with a role, without a mail.

        Raises:
            ValidationFailed: The password does not meet the policy, or the address has an account.
        """
        accepted = await self.policy.check(password, about_user=_about(email, columns.get("name")))
        user = await self.store(session).add_user(
            email=email,
            created_at=self.now(),
            role=role,
            is_active=True,
            email_verified=True,
            password_hash=await self._hasher.hash(accepted),
            **columns,
        )
        if user is None:
            raise ValidationFailed(FieldError(field="email", message="Has an account already", code="email_taken"))
        return user

    async def verify_email(self, session: S, token: str) -> None:
        """Mark the address as proven that the token was sent to.

        Raises:
            ValidationFailed: The token is not good, or no longer.
        """
        user = await self._take(session, token, "verify_email")
        await self.store(session).set_email_verified(user)
        self.user_changed(session, user.id)
        logger.info("email_verified", user_id=user.id)

    async def forgot_password(self, session: S, email: str) -> None:
        """Send a reset mail when the address has an active account; say nothing either way."""
        store = self.store(session)
        user = await store.user_by_email(email)
        if user is not None and user.is_active and self._notifier is not None:
            token = await self._new_token(store, user, "reset_password")
            await self._notifier.reset_password(session, user, token)

    async def reset_password(self, session: S, token: str, password: str) -> None:
        """Set a new password by a reset mail's token; every session of the user ends, the address is proven.

        Raises:
            ValidationFailed: The token is not good; or the password is not, and then the token stays good.
        """
        store = self.store(session)
        # Who brings no token costs no hash; and a guesser tries the address first, which is known by the token alone.
        owner_id = await store.token_owner(digest(token), purpose="reset_password", now=self.now())
        owner = None if owner_id is None else await store.user_by_id(owner_id)
        if owner is None:
            raise _unknown_token()
        accepted = await self.policy.check(password, about_user=_about(owner.email, getattr(owner, "name", None)))
        await store.commit()
        password_hash = await self._hasher.hash(accepted)
        user = await self._take(session, token, "reset_password")
        await store.set_password(user, password_hash)
        await store.set_email_verified(user)
        await self._password_changed(store, user.id)
        logger.info("password_reset", user_id=user.id)

    async def change_password(
        self, session: S, user: U, *, current: str, new: str, keep_session: str | None, client: Client
    ) -> None:
        """Set a new password by the current one; every other session of the user ends.

        Commits what `session` wrote before, so that no connection is held while passwords are hashed.

        Raises:
            ValidationFailed: The current password is wrong, or the new one does not meet the policy.
            RateLimited: Too many wrong ones.
        """
        store, account = self.store(session), email_key(user.email)
        await store.commit()
        if self._limiter is not None:
            await self._limiter.attempt(address=client.address, account=account)
        known_hash = user.password_hash
        ok, _ = await self._hasher.verify(current, known_hash)
        if not ok:
            logger.warning("wrong_current_password", user_id=user.id, client=client.address)
            raise _wrong_password()
        if self._limiter is not None:
            await self._limiter.succeeded(address=client.address, account=account)
        accepted = await self.policy.check(new, about_user=_about(user.email, getattr(user, "name", None)))
        password_hash = await self._hasher.hash(accepted)
        # Meanwhile the owner may have set another one, by a mail for example, to get rid of whoever asks here.
        fresh = await store.locked_user(user.id)
        if fresh is None or not fresh.is_active or fresh.password_hash != known_hash:
            raise _wrong_password()
        await store.set_password(fresh, password_hash)
        await self._password_changed(store, user.id, but=keep_session)
        logger.info("password_changed", user_id=user.id)

    async def _password_changed(self, store: AuthStore[U], user_id: UserId, but: str | None = None) -> None:
        await store.drop_tokens(user_id, purpose="reset_password")
        await self._end_sessions(store, user_id, but)

    async def end_sessions(self, session: S, user_id: UserId) -> None:
        """End every session of a user, one that a login is about to make too; for whoever disables or deletes one."""
        store = self.store(session)
        await store.locked_user(user_id)
        await self._end_sessions(store, user_id)

    def user_changed(self, session: S, user_id: UserId) -> None:
        """Say that a user was changed or deleted: when `session` commits, every process acts on it.

        For whoever changes a user's row; what `Auth` changes itself, it says itself.
        """
        self._user_changed(self.store(session), user_id)

    def _user_changed(self, store: AuthStore[U], user_id: UserId) -> None:
        if self._cache is not None:
            self._cache.forget_after_commit(store, user_id)

    async def _end_sessions(self, store: AuthStore[U], user_id: UserId, but: str | None = None) -> None:
        self._user_changed(store, user_id)
        ended = await store.revoke_sessions(user_id, now=self.now(), but=but)
        if ended:
            logger.info("sessions_revoked", user_id=user_id, count=ended)

    # Sessions

    async def log_in(self, session: S, *, email: str, password: str, client: Client) -> SessionAndUser[U]:
        """A new session for the account with this address and password.

        Raises:
            InvalidCredentials: For every reason alike, after the same work.
            RateLimited: Too many failures from this address or for this account.
        """
        account = email_key(email)
        if self._limiter is not None:
            await self._limiter.attempt(address=client.address, account=account)
        store = self.store(session)
        user = await store.user_by_email(email)
        known_hash = None if user is None else user.password_hash
        # So that no connection is held while a password is hashed.
        await store.commit()
        ok, new_hash = await self._hasher.verify(password, known_hash)
        may_log_in = user is not None and user.is_active and (user.email_verified or not self._require_verified_email)
        if not ok or user is None or not may_log_in:
            logger.warning("login_failed", client=client.address, account=_pseudonym(account))
            raise InvalidCredentials
        if self._limiter is not None:
            await self._limiter.succeeded(address=client.address, account=account)
        # Meanwhile the password may have been changed, and the sessions that it had ended, or the user disabled.
        user = await store.locked_user(user.id)
        if user is None or not user.is_active or user.password_hash != known_hash:
            logger.warning("login_failed", client=client.address, account=_pseudonym(account))
            raise InvalidCredentials
        if new_hash is not None:
            await store.set_password(user, new_hash)
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
        in_grace = now - found.session.rotated_at < self._grace
        if token.generation == found.session.generation - 1 and in_grace:
            return self.tokens_of(found.session)
        self._user_changed(store, found.user.id)
        await store.revoke_session(token.session_id, now=now)
        # The exception rolls back what is not committed.
        await store.commit()
        logger.warning("refresh_reused", user_id=found.user.id, session_id=token.session_id)
        raise TokenReused

    async def authenticate(self, session: S, claims: AccessClaims) -> SessionAndUser[U]:
        """The living session and active user of a verified access token, as the database has them now.

        Raises:
            InvalidToken: The session is over, or the user is gone, disabled or another.
        """
        found, cache, store = None, self._cache, self.store(session)
        if cache is not None:
            found = cache.get(store, claims.session_id)
        if found is None or not self._is_living(found):
            mark = None if cache is None else cache.mark()
            found = await self._living(store, claims.session_id)
            if found is not None and cache is not None and mark is not None:
                cache.keep(store, found, mark=mark)
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
        now, auth_session = self.now(), found.session
        return (
            auth_session.revoked_at is None
            and found.user.is_active
            and now - auth_session.created_at < self.lifetime
            and now - auth_session.last_seen_at < self.idle
        )

    # Tokens that are good once

    async def new_ws_ticket(self, session: S, user: U, session_id: str) -> str:
        """A ticket that opens one WebSocket within 30 seconds."""
        return await self._new_token(self.store(session), user, "ws_ticket", session_id=session_id)

    async def take_ws_ticket(self, session: S, ticket: str) -> SessionAndUser[U]:
        """The session of a ticket, which is then used up.

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

    async def _new_token(self, store: AuthStore[U], user: U, purpose: Purpose, *, session_id: str | None = None) -> str:
        token = secrets.token_urlsafe(32)
        await store.add_token(
            digest=digest(token),
            purpose=purpose,
            user_id=user.id,
            session_id=session_id,
            expires_at=self.now() + self._one_time_life[purpose],
        )
        return token

    async def _take(self, session: S, token: str, purpose: Purpose) -> U:
        store, now = self.store(session), self.now()
        owner_id = await store.token_owner(digest(token), purpose=purpose, now=now)
        # First the user, then what is theirs: as everybody does, so that no two wait for each other.
        user = None if owner_id is None else await store.locked_user(owner_id)
        if user is None or not user.is_active:
            raise _unknown_token()
        if await store.take_token(digest(token), purpose=purpose, now=now) is None:
            raise _unknown_token()
        return user


def _store_maker(
    models: AuthModels[U] | None, store: Callable[[S], AuthStore[U]] | None
) -> Callable[[S], AuthStore[U]]:
    if (models is None) == (store is None):
        raise ValueError("Give either models or a store")
    # Without a store of its own, S is SQLAlchemy's session.
    made: Any = store if models is None else partial(SQLAlchemyStore, models=models)
    chosen: Callable[[S], AuthStore[U]] = made
    return chosen


def _about(email: str, name: object) -> list[str]:
    # Words that a guesser would try.
    return [email, name] if isinstance(name, str) else [email]


def _unknown_token() -> ValidationFailed:
    message = "Unknown, used or expired"
    return ValidationFailed(FieldError(field="token", message=message, code="invalid_token"))


def _wrong_password() -> ValidationFailed:
    message = "Not the current password"
    return ValidationFailed(FieldError(field="current_password", message=message, code="wrong_password"))


def _pseudonym(account: str) -> str:
    # Enough to see that failures concern one account, without writing addresses into logs.
    return sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:12]
