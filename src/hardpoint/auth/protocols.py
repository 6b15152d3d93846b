"""What auth needs of the application around it: users, where they and the rest are kept, how they are told, limits.

Everything here is structural: no class has to inherit from these. `hardpoint.auth.sqlalchemy` and
`hardpoint.auth.memory` have a store each; the mixins of `hardpoint.auth.models` have the attributes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from typing_extensions import TypeVar

__all__ = [
    "ApiKeyStore",
    "AuthApiKey",
    "AuthNotifier",
    "AuthSession",
    "AuthStore",
    "AuthUser",
    "LoginLimiter",
    "SessionAndUser",
    "SessionStore",
    "TakenToken",
    "TokenStore",
    "UserId",
    "UserStore",
]

UserId: TypeAlias = int | UUID
"""A user's id: a whole number from 1 to 2^63 - 1, or a UUID."""


class AuthUser(Protocol):
    """A user, as auth reads them; what it changes, it changes through the store.

    The unions with `Mapped` are for mypy, which takes SQLAlchemy's attributes for what is declared where a class is
    named in an annotation, and for what they give everywhere else.
    """

    @property
    def id(self) -> UserId | Mapped[UserId]:
        """Who it is, for good."""

    @property
    def email(self) -> str | Mapped[str]:
        """Where mail goes, as the user wrote it."""

    @property
    def role(self) -> str | Mapped[str]:
        """What they may do; `Roles` says which there are."""

    @property
    def is_active(self) -> bool | Mapped[bool]:
        """Whether they may do anything at all."""

    @property
    def email_verified(self) -> bool | Mapped[bool]:
        """Whether the address is proven."""

    @property
    def password_hash(self) -> str | Mapped[str | None] | None:
        """The hash of their password; `None` for who has none, such as users of a single sign-on."""


class AuthSession(Protocol):
    """A login, and the family of refresh tokens that it began; `hardpoint.auth.refresh` says what the secret is for."""

    @property
    def id(self) -> str | Mapped[str]:
        """Its id, 22 characters that are no secret."""

    @property
    def user_id(self) -> UserId | Mapped[Any]:
        """Whose it is."""

    @property
    def secret(self) -> bytes | Mapped[bytes]:
        """32 random bytes."""

    @property
    def generation(self) -> int | Mapped[int]:
        """How often it was refreshed."""

    @property
    def rotated_at(self) -> datetime | Mapped[datetime]:
        """The last refresh."""

    @property
    def device(self) -> str | Mapped[str]:
        """The user agent at login, cut to 256 characters."""

    @property
    def address(self) -> str | Mapped[str]:
        """The address at login, cut to 64 characters."""

    @property
    def created_at(self) -> datetime | Mapped[datetime]:
        """The login."""

    @property
    def last_seen_at(self) -> datetime | Mapped[datetime]:
        """The login, the last refresh or, for a cookie, about the last request."""

    @property
    def revoked_at(self) -> datetime | Mapped[datetime | None] | None:
        """When it was ended."""


class AuthApiKey(Protocol):
    """A key for a program. Only the digest of its secret is kept."""

    @property
    def id(self) -> int | Mapped[int]:
        """Its id, which is part of its text."""

    @property
    def name(self) -> str | Mapped[str]:
        """What it is for."""

    @property
    def digest(self) -> bytes | Mapped[bytes]:
        """32 bytes."""

    @property
    def scopes(self) -> list[str] | Mapped[list[str]]:
        """What it may do."""

    @property
    def created_at(self) -> datetime | Mapped[datetime]:
        """When it was made."""

    @property
    def expires_at(self) -> datetime | Mapped[datetime | None] | None:
        """When it ends by itself."""

    @property
    def last_used_at(self) -> datetime | Mapped[datetime | None] | None:
        """About when it was last used."""

    @property
    def revoked_at(self) -> datetime | Mapped[datetime | None] | None:
        """When it was ended."""


U = TypeVar("U", bound=AuthUser, default=AuthUser)
S_contra = TypeVar("S_contra", contravariant=True, default=AsyncSession)
U_contra = TypeVar("U_contra", bound=AuthUser, contravariant=True, default=AuthUser)


@dataclass(frozen=True, slots=True)
class SessionAndUser(Generic[U]):
    """A session and whose it is."""

    session: AuthSession
    user: U


@dataclass(frozen=True, slots=True)
class TakenToken:
    """Whose a token was that is used up now, and of which session if it belongs to one."""

    user_id: UserId
    session_id: str | None


class UserStore(Protocol[U]):
    """Where users are kept."""

    async def user_by_email(self, address: str) -> U | None:
        """The user with this address, however it is spelt: `email_key(address)` is what is compared."""

    async def user_by_id(self, user_id: UserId) -> U | None:
        """The user with this id."""

    async def add_user(self, *, email: str, created_at: datetime, **columns: Any) -> U | None:
        """A new user, or `None` when the address has one: exactly one of any number of simultaneous calls gets a user.

        The columns are `role`, `is_active`, `email_verified`, `password_hash` and what the caller has beyond that.
        """

    async def set_password(self, user: U, password_hash: str) -> None:
        """Keep a new hash for this user."""

    async def set_email_verified(self, user: U) -> None:
        """Keep that this user's address is proven."""

    async def locked_user(self, user_id: UserId) -> U | None:
        """The user as they are now, whom no other transaction changes, deletes or locks until this one ends.

        Logins, new passwords and whatever ends all of a user's sessions stand in one line by it.
        """


class SessionStore(Protocol[U]):
    """Where sessions are kept."""

    async def add_session(self, **columns: Any) -> AuthSession:
        """A new session with the attributes of `AuthSession`."""

    async def session_by_id(self, session_id: str) -> SessionAndUser[U] | None:
        """The session with its user, both as they are now, unless it is revoked."""

    async def living_roles(
        self, session_ids: Sequence[str], *, now: datetime, lifetime: timedelta, idle: timedelta
    ) -> dict[str, str]:
        """The user's role of each of these sessions that is neither over nor of a disabled user."""

    async def rotate(self, session_id: str, *, generation: int, now: datetime) -> bool:
        """Take the step after `generation`; false when it has been taken or the session is revoked.

        Of any number of simultaneous calls exactly one is true.
        """

    async def see_session(self, session_id: str, *, now: datetime) -> None:
        """Keep that the session was used now."""

    async def revoke_session(self, session_id: str, *, now: datetime, user_id: UserId | None = None) -> UserId | None:
        """End a session, of this user alone if one is given; whose it was, or `None` when there was no living one."""

    async def revoke_sessions(self, user_id: UserId, *, now: datetime, but: str | None = None) -> int:
        """End all sessions of a user, except the one `but`; how many that were."""

    async def living_sessions(
        self,
        user_id: UserId,
        *,
        now: datetime,
        lifetime: timedelta,
        idle: timedelta,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> Sequence[AuthSession]:
        """The first `limit` of the user's sessions, newest first by `(created_at, id)`, that come after `after`.

        Living are those that are not revoked, made after `now - lifetime` and last seen after `now - idle`.
        """


class TokenStore(Protocol):
    """Where tokens are kept that are good once: of a verification or reset mail, WebSocket tickets."""

    async def add_token(
        self, *, digest: bytes, purpose: str, user_id: UserId, session_id: str | None, expires_at: datetime
    ) -> None:
        """Keep a token's digest."""

    async def token_owner(self, digest: bytes, *, purpose: str, now: datetime) -> UserId | None:
        """Whose the living token with this digest is; it stays."""

    async def take_token(self, digest: bytes, *, purpose: str, now: datetime) -> TakenToken | None:
        """The living token with this digest, removed: no other call finds it, be it simultaneous."""

    async def count_tokens(self, user_id: UserId, *, purpose: str, now: datetime) -> int:
        """How many living tokens the user has for `purpose`."""

    async def drop_tokens(self, user_id: UserId, *, purpose: str) -> None:
        """Forget the user's tokens for `purpose`."""

    async def drop_expired(self, *, now: datetime, lifetime: timedelta) -> None:
        """Remove tokens and sessions that nobody can use any more; call it every so often."""


class ApiKeyStore(Protocol):
    """Where API keys are kept."""

    async def add_api_key(self, **columns: Any) -> AuthApiKey:
        """A new API key with the attributes of `AuthApiKey`; its id is a positive whole number."""

    async def api_key_by_id(self, key_id: int) -> AuthApiKey | None:
        """The API key with this id, revoked or not."""

    async def see_api_key(self, key: AuthApiKey, *, now: datetime) -> None:
        """Keep that the key was used now."""

    async def revoke_api_key(self, key_id: int, *, now: datetime) -> bool:
        """End a key; false when there was no living one."""

    async def living_api_keys(self, *, limit: int, before: int | None = None) -> Sequence[AuthApiKey]:
        """The first `limit` of the keys that are not revoked, newest first, whose id is less than `before`."""


class AuthStore(UserStore[U], SessionStore[U], TokenStore, ApiKeyStore, Protocol[U]):
    """All that auth keeps, in one transaction: that of the request, or of whatever else calls it."""

    async def commit(self) -> None:
        """Keep what was written so far, whatever happens next, and let go of every lock."""

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call `call` when what was written so far is kept, and not if it is rolled back."""

    def detach(self, found: SessionAndUser[U]) -> SessionAndUser[U] | None:
        """A copy that stays as it is, to be kept beyond this transaction; `None` when it is not to be kept."""

    def attach(self, found: SessionAndUser[U]) -> SessionAndUser[U]:
        """What `detach` gave another transaction, as if it had been read in this one."""


class AuthNotifier(Protocol[U_contra, S_contra]):
    """How users are told. Called in the request's transaction, so that a mail can be queued together with the data."""

    async def verify_email(self, session: S_contra, user: U_contra, token: str) -> None:
        """A new account: send the token that proves the address."""

    async def already_registered(self, session: S_contra, user: U_contra) -> None:
        """Somebody registered an address that has an account: tell its owner, and nobody else."""

    async def reset_password(self, session: S_contra, user: U_contra, token: str) -> None:
        """The owner asked for a new password: send the token that permits it."""


class LoginLimiter(Protocol):
    """What slows down guessing."""

    async def attempt(self, *, address: str, account: str) -> None:
        """Count an attempt for both, or raise `RateLimited` when one of them has none left."""

    async def succeeded(self, *, address: str, account: str) -> None:
        """Take the attempt back from the address, and forget all of the account's."""
