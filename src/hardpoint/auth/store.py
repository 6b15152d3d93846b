"""Every query of auth, on one database session."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from hardpoint.auth.email import email_key
from hardpoint.auth.models import ApiKeyMixin, AuthSessionMixin, OneTimeTokenMixin, UserMixin
from hardpoint.db import transaction_lock

__all__ = ["AuthModels", "AuthStore", "SessionAndUser", "TakenToken"]

U = TypeVar("U", bound=UserMixin)


@dataclass(frozen=True, slots=True)
class AuthModels(Generic[U]):
    """The application's own models, each with the mixin of its kind; without `api_key` there are no API keys."""

    user: type[U]
    session: type[AuthSessionMixin]
    token: type[OneTimeTokenMixin]
    api_key: type[ApiKeyMixin] | None = None

    @classmethod
    def beside(cls, user: type[U]) -> "AuthModels[U]":
        """The user's model, and plain models for the rest on its declarative base; once for each base.

        Their tables are `auth_sessions`, `auth_tokens` and `api_keys`.
        """
        base = next(parent for parent in user.__mro__ if DeclarativeBase in parent.__bases__)
        owned = {"__user_table__": user.__tablename__}  # type: ignore[attr-defined] # SQLAlchemy's, on the mapped class.
        return cls(
            user,
            type("AuthSession", (AuthSessionMixin, base), {"__tablename__": "auth_sessions", **owned}),
            type("AuthToken", (OneTimeTokenMixin, base), {"__tablename__": "auth_tokens", **owned}),
            type("ApiKey", (ApiKeyMixin, base), {"__tablename__": "api_keys"}),
        )


@dataclass(frozen=True, slots=True)
class SessionAndUser(Generic[U]):
    """A session and whose it is."""

    session: AuthSessionMixin
    user: U


@dataclass(frozen=True, slots=True)
class TakenToken:
    """Whose a token was that is used up now, and of which session if it belongs to one."""

    user_id: int
    session_id: str | None


class AuthStore(Generic[U]):
    """What auth reads and writes.

    Args:
        session: The request's database session.
        models: The application's models.
    """

    def __init__(self, session: AsyncSession, models: AuthModels[U]) -> None:
        self.session = session
        self._models = models

    async def release(self) -> None:
        """End the transaction, so that no connection is held while a password is hashed."""
        await self.session.commit()

    # Users

    async def user_by_email(self, address: str) -> U | None:
        """The user with this address, however it is spelt."""
        if "\x00" in address:
            # PostgreSQL's text cannot hold it, so nobody has it, and asking would be an error.
            return None
        statement = select(self._models.user).where(self._models.user.email_key == email_key(address))
        return (await self.session.scalars(statement)).one_or_none()

    async def user_by_id(self, user_id: int) -> U | None:
        """The user with this id."""
        return await self.session.get(self._models.user, user_id)

    async def add_user(self, *, email: str, created_at: datetime, **columns: Any) -> U | None:
        """A new user, or `None` when the address has one: exactly one of two simultaneous calls gets a user."""
        key = email_key(email)
        await transaction_lock(self.session, f"hardpoint.auth email {key}")
        if await self.user_by_email(email) is not None:
            return None
        values = {"email": email, "email_key": key, "created_at": created_at, **columns}
        user = self._models.user(**values)
        self.session.add(user)
        await self.session.flush()
        return user

    async def lock_password(self, user: U) -> None:
        """Let nobody log in or change the password of `user` until this transaction ends."""
        await transaction_lock(self.session, f"hardpoint.auth password {user.id}")

    async def still_has_password(self, user: U, password_hash: str | None) -> bool:
        """Whether an active user has this hash at the moment, and so until this transaction ends."""
        await self.lock_password(user)
        fresh = await self.session.get(self._models.user, user.id, populate_existing=True)
        return fresh is not None and fresh.is_active and fresh.password_hash == password_hash

    # Sessions

    async def add_session(self, **columns: Any) -> AuthSessionMixin:
        """A new session."""
        auth_session = self._models.session(**columns)
        self.session.add(auth_session)
        await self.session.flush()
        return auth_session

    async def session_by_id(self, session_id: str) -> SessionAndUser[U] | None:
        """The session with its user, in one query, unless it is revoked."""
        models = self._models
        statement = (
            select(models.session, models.user)
            .join(models.user, models.user.id == models.session.user_id)
            .where(models.session.id == session_id, models.session.revoked_at.is_(None))
            # Another process may have changed either since this request began.
            .execution_options(populate_existing=True)
        )
        row = (await self.session.execute(statement)).one_or_none()
        return None if row is None else SessionAndUser(row[0], row[1])

    async def living_roles(
        self, session_ids: Sequence[str], *, now: datetime, lifetime: timedelta, idle: timedelta
    ) -> dict[str, str]:
        """The user's role of each of these sessions that is neither over nor of a disabled user."""
        models = self._models
        statement = (
            select(models.session.id, models.user.role)
            .join(models.user, models.user.id == models.session.user_id)
            .where(
                models.session.id.in_(session_ids),
                models.session.revoked_at.is_(None),
                models.session.created_at > now - lifetime,
                models.session.last_seen_at > now - idle,
                models.user.is_active,
            )
        )
        return {row.id: row.role for row in await self.session.execute(statement)}

    async def rotate(self, session_id: str, *, generation: int, now: datetime) -> bool:
        """Take the step after `generation`; false when it has been taken or the session is over.

        One conditional statement, so that of any number of simultaneous calls exactly one is true.
        """
        model = self._models.session
        statement = (
            update(model)
            .where(model.id == session_id, model.generation == generation, model.revoked_at.is_(None))
            .values(generation=generation + 1, rotated_at=now, last_seen_at=now)
            .returning(model.id)
        )
        return (await self.session.execute(statement)).one_or_none() is not None

    async def revoke_session(self, session_id: str, *, now: datetime, user_id: int | None = None) -> int | None:
        """End a session, of this user alone if one is given; whose it was, or `None` when there was no living one."""
        ended = await self._revoke(now, [self._models.session.id == session_id], user_id)
        return ended[0] if ended else None

    async def revoke_sessions(self, user_id: int, *, now: datetime, but: str | None = None) -> int:
        """End all sessions of a user, except the one `but`; how many that were."""
        conditions = [] if but is None else [self._models.session.id != but]
        return len(await self._revoke(now, conditions, user_id))

    async def _revoke(self, now: datetime, conditions: list[Any], user_id: int | None) -> list[int]:
        model = self._models.session
        statement = update(model).where(model.revoked_at.is_(None), *conditions).values(revoked_at=now)
        if user_id is not None:
            statement = statement.where(model.user_id == user_id)
        return list((await self.session.scalars(statement.returning(model.user_id))).all())

    def living_sessions(self, user_id: int, *, now: datetime, lifetime: timedelta, idle: timedelta) -> Select[Any]:
        """A select of the user's living sessions, for a listing."""
        model = self._models.session
        return select(model).where(
            model.user_id == user_id,
            model.revoked_at.is_(None),
            model.created_at > now - lifetime,
            model.last_seen_at > now - idle,
        )

    @property
    def session_order(self) -> Sequence[Any]:
        """Newest first."""
        return (self._models.session.created_at.desc(), self._models.session.id.desc())

    # Tokens that are good once

    async def add_token(self, **columns: Any) -> None:
        """Keep a token's digest."""
        self.session.add(self._models.token(**columns))
        await self.session.flush()

    async def take_token(self, digest: bytes, *, purpose: str, now: datetime) -> TakenToken | None:
        """The token with this digest, removed: the next call does not find it, nor does a simultaneous one."""
        model = self._models.token
        statement = (
            delete(model)
            .where(model.digest == digest, model.purpose == purpose, model.expires_at > now)
            .returning(model.user_id, model.session_id)
        )
        row = (await self.session.execute(statement)).one_or_none()
        if row is None:
            return None
        return TakenToken(row.user_id, row.session_id)

    async def drop_tokens(self, user_id: int, *, purpose: str) -> None:
        """Forget the user's tokens for `purpose`."""
        model = self._models.token
        await self.session.execute(delete(model).where(model.user_id == user_id, model.purpose == purpose))

    async def drop_expired(self, *, now: datetime, lifetime: timedelta) -> None:
        """Remove tokens and sessions that nobody can use any more."""
        token, auth_session = self._models.token, self._models.session
        await self.session.execute(delete(token).where(token.expires_at <= now))
        await self.session.execute(delete(auth_session).where(auth_session.created_at <= now - lifetime))

    # API keys

    async def add_api_key(self, **columns: Any) -> ApiKeyMixin:
        """A new API key."""
        key = self._api_key(**columns)
        self.session.add(key)
        await self.session.flush()
        return key

    async def api_key_by_id(self, key_id: int) -> ApiKeyMixin | None:
        """The API key with this id."""
        model = self._models.api_key
        return None if model is None else await self.session.get(model, key_id)

    def api_keys(self) -> Select[Any]:
        """A select of the API keys that are not revoked, for a listing."""
        return select(self._api_key).where(self._api_key.revoked_at.is_(None))

    @property
    def api_key_order(self) -> Sequence[Any]:
        """Newest first."""
        return (self._api_key.id.desc(),)

    @property
    def _api_key(self) -> type[ApiKeyMixin]:
        if self._models.api_key is None:
            raise RuntimeError("AuthModels was given no model of API keys")
        return self._models.api_key
