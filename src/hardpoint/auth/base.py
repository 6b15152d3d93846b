"""What accounts and sessions have in common: where they are kept, and what is told when they change."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeVar

from hardpoint.auth.api_keys import digest
from hardpoint.auth.cache import PrincipalCache
from hardpoint.auth.passwords import PasswordHasher, PasswordPolicy
from hardpoint.auth.protocols import AuthNotifier, AuthStore, AuthUser, LoginLimiter, UserId
from hardpoint.auth.refresh import SessionSecrets
from hardpoint.auth.tokens import AccessTokens
from hardpoint.clock import Clock, utc_datetime
from hardpoint.errors import FieldError, ValidationFailed
from hardpoint.log import get_logger

__all__ = ["AuthBase", "Client", "Purpose", "unknown_token"]

U = TypeVar("U", bound=AuthUser, default=AuthUser)
S = TypeVar("S", default=AsyncSession)
Purpose = Literal["verify_email", "reset_password", "told_registered", "ws_ticket"]

logger = get_logger("hardpoint.auth")


@dataclass(frozen=True, slots=True)
class Client:
    """Where a login comes from, for the list of sessions and the limits."""

    address: str
    device: str


class AuthBase(Generic[U, S]):
    """What an `Auth` was given, which its constructor says."""

    store: Callable[[S], AuthStore[U]]
    tokens: AccessTokens
    policy: PasswordPolicy
    idle: timedelta
    lifetime: timedelta
    _secrets: SessionSecrets
    _hasher: PasswordHasher
    _notifier: AuthNotifier[U, S] | None
    _limiter: LoginLimiter | None
    _default_role: str
    _require_verified_email: bool
    _grace: timedelta
    _one_time_life: dict[Purpose, timedelta]
    _mails_per_hour: int
    _cache: PrincipalCache | None
    _clock: Clock

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return utc_datetime(self._clock())

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
            raise unknown_token()
        if await store.take_token(digest(token), purpose=purpose, now=now) is None:
            raise unknown_token()
        return user


def unknown_token() -> ValidationFailed:
    """Of a mail's token that is not good, for whatever reason."""
    message = "Unknown, used or expired"
    return ValidationFailed(FieldError(field="token", message=message, code="invalid_token"))
