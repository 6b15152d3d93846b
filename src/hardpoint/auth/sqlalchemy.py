"""The store over SQLAlchemy: every query of auth, on one database session, over the application's own models."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from sqlalchemy import MetaData, Update, and_, delete, event, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.orm.attributes import instance_state, set_committed_value

from hardpoint.auth.email import email_key
from hardpoint.auth.models import ApiKeyMixin, AuthSessionMixin, OneTimeTokenMixin
from hardpoint.auth.protocols import AuthApiKey, AuthSession, AuthUser, SessionAndUser, TakenToken, UserId
from hardpoint.db import LazySession, transaction_lock

__all__ = ["AuthModels", "SQLAlchemyStore"]

T = TypeVar("T")
U = TypeVar("U", bound=AuthUser)

_UNCHANGING: Final = frozenset({bool, bytes, datetime, float, int, str, UUID, type(None)})
# As a frozen dataclass does in its own `__init__`.
_set: Final = object.__setattr__


@dataclass(frozen=True, slots=True)
class AuthModels(Generic[U]):
    """The application's own models, each with the mixin of its kind; without `api_key` there are no API keys.

    The user's may be any mapped class with the attributes of `AuthUser` and a unique `email_key`; columns that are
    called otherwise are given these names with SQLAlchemy's `synonym` and `hybrid_property`.
    """

    user: type[U]
    session: type[AuthSessionMixin]
    token: type[OneTimeTokenMixin]
    api_key: type[ApiKeyMixin] | None = None

    @property
    def metadata(self) -> MetaData:
        """What knows the tables of all of them."""
        mapped: Any = self.user
        metadata: MetaData = mapped.__table__.metadata
        return metadata

    @classmethod
    def beside(cls, user: type[U]) -> "AuthModels[U]":
        """The user's model, and plain models for the rest in its registry and metadata; once for each.

        Their tables are `auth_sessions`, `auth_tokens` and `api_keys`.

        Raises:
            ValueError: The users' primary key is not one column.
        """
        mapped: Any = user
        ids = [*mapped.__table__.primary_key]
        if len(ids) != 1:
            raise ValueError(f"{user.__name__} needs one column as its primary key")
        # Not the user's own base, which may be one of dataclasses, or have columns that every table of theirs has.
        shared = {"registry": mapped.__mapper__.registry, "metadata": mapped.__table__.metadata}
        base: Any = type("Base", (DeclarativeBase,), shared)
        owned = {
            "__user_table__": mapped.__table__.fullname,
            "__user_id_column__": ids[0].name,
            "__user_id_type__": ids[0].type,
        }
        return cls(
            user,
            type("AuthSession", (AuthSessionMixin, base), {"__tablename__": "auth_sessions", **owned}),
            type("AuthToken", (OneTimeTokenMixin, base), {"__tablename__": "auth_tokens", **owned}),
            type("ApiKey", (ApiKeyMixin, base), {"__tablename__": "api_keys"}),
        )


class SQLAlchemyStore(Generic[U]):
    """What auth reads and writes, as `AuthStore` says; subclass it where your users are kept otherwise.

    Args:
        session: The request's database session.
        models: The application's models.
    """

    def __init__(self, session: AsyncSession, models: AuthModels[U]) -> None:
        self.session = session
        self.models = models

    async def commit(self) -> None:
        """Commit; no connection is held until the next query."""
        await self.session.commit()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call `call` when the session commits next, to the database and not to a savepoint."""
        waiting = [call]

        def called(committed: SyncSession) -> None:
            # A savepoint's release is told as a commit, and nobody else sees the change yet.
            if waiting and not committed.in_nested_transaction():
                waiting.pop()()

        event.listen(self.session.sync_session, "after_commit", called)

    def _with_commit(self, statement: Update) -> None:
        """Execute `statement` when the session commits next.

        Earlier it would lock the row until then, and whoever uses the same session or key meanwhile would wait. As a
        changed row, which may be deleted meanwhile, it would be an error.
        """
        waiting = [statement]

        def execute(session: SyncSession) -> None:
            if waiting and not session.in_nested_transaction():
                session.execute(waiting.pop(), execution_options={"synchronize_session": False})

        event.listen(self.session.sync_session, "before_commit", execute)

    def detach(self, found: SessionAndUser[U]) -> SessionAndUser[U] | None:
        """A copy without a database session: the request's own may be changed, rolled back and expired.

        What is not loaded, such as a deferred column, is not loaded in the copy either. A row whose relationships are
        loaded is not copied: what they lead to changes without anybody telling auth.
        """
        if _has_related(found.session) or _has_related(found.user):
            return None
        session, user = _Mould(found.session), _Mould(found.user)
        return _Kept(session.make(), user.make(), session, user)

    def attach(self, found: SessionAndUser[U]) -> SessionAndUser[U]:
        """The copy's rows in this database session, without a query."""
        if isinstance(found, _Kept):
            if isinstance(self.session, LazySession):
                return _Attached(self.session, found)
            found = SessionAndUser(found.session_mould.make(), found.user_mould.make())
        merge = self.session.sync_session.merge
        return SessionAndUser(merge(found.session, load=False), merge(found.user, load=False))

    # Users

    async def user_by_email(self, address: str) -> U | None:
        """The user with this address, however it is spelt."""
        if "\x00" in address:
            # PostgreSQL's text cannot hold it, so nobody has it, and asking would be an error.
            return None
        model: Any = self.models.user
        statement = select(self.models.user).where(model.email_key == email_key(address))
        # Collections that the model loads by a join make several rows of one user.
        return (await self.session.scalars(statement)).unique().one_or_none()

    async def user_by_id(self, user_id: UserId) -> U | None:
        """The user with this id."""
        return await self.session.get(self.models.user, user_id)

    async def locked_user(self, user_id: UserId) -> U | None:
        """The user as they are now, whom no other transaction changes, deletes or locks until this one ends.

        PostgreSQL: `FOR NO KEY UPDATE`, which lets rows that point to the user be written. SQLite: its one write lock.
        """
        if (await self.session.connection()).dialect.name == "sqlite":
            await transaction_lock(self.session, "hardpoint.auth user")
        model: Any = self.models.user
        statement = (
            select(self.models.user)
            .where(model.id == user_id)
            # Not what the model loads by a join, of which PostgreSQL locks nothing that may be missing.
            .with_for_update(key_share=True, of=self.models.user)
            .execution_options(populate_existing=True)
        )
        return (await self.session.scalars(statement)).unique().one_or_none()

    async def add_user(self, *, email: str, created_at: datetime, **columns: Any) -> U | None:
        """A new user, or `None` when the address has one: exactly one of two simultaneous calls gets a user."""
        key = email_key(email)
        await transaction_lock(self.session, f"hardpoint.auth email {key}")
        if await self.user_by_email(email) is not None:
            return None
        values = {"email": email, "email_key": key, "created_at": created_at, **columns}
        user = self.models.user(**values)
        self.session.add(user)
        await self.session.flush()
        return user

    async def set_password(self, user: U, password_hash: str) -> None:
        """Keep a new hash for this user."""
        row: Any = user
        row.password_hash = password_hash

    async def set_email_verified(self, user: U) -> None:
        """Keep that this user's address is proven."""
        row: Any = user
        row.email_verified = True

    # Sessions

    async def add_session(self, **columns: Any) -> AuthSession:
        """A new session."""
        auth_session = self.models.session(**columns)
        self.session.add(auth_session)
        await self.session.flush()
        return auth_session

    async def session_by_id(self, session_id: str) -> SessionAndUser[U] | None:
        """The session with its user, in one query, unless it is revoked."""
        session, user = self.models.session, self.models.user
        user_id: Any = user.id
        statement = (
            select(session, user)
            .join(user, user_id == session.user_id)
            .where(session.id == session_id, session.revoked_at.is_(None))
            # Another process may have changed either since this request began.
            .execution_options(populate_existing=True)
        )
        row = (await self.session.execute(statement)).unique().one_or_none()
        return None if row is None else SessionAndUser(row[0], row[1])

    async def living_roles(
        self, session_ids: Sequence[str], *, now: datetime, lifetime: timedelta, idle: timedelta
    ) -> dict[str, str]:
        """The user's role of each of these sessions that is neither over nor of a disabled user."""
        session, user = self.models.session, self.models.user
        columns: Any = user
        statement = (
            select(session.id, columns.role)
            .join(user, columns.id == session.user_id)
            .where(session.id.in_(session_ids), columns.is_active, *self._living(now, lifetime, idle))
        )
        return {row[0]: row[1] for row in await self.session.execute(statement)}

    def _living(self, now: datetime, lifetime: timedelta, idle: timedelta) -> list[Any]:
        model = self.models.session
        return [
            model.revoked_at.is_(None),
            model.created_at > now - lifetime,
            model.last_seen_at > now - idle,
        ]

    async def rotate(self, session_id: str, *, generation: int, now: datetime) -> bool:
        """Take the step after `generation`; false when it has been taken or the session is revoked.

        One conditional statement, so that of any number of simultaneous calls exactly one is true.
        """
        model = self.models.session
        statement = (
            update(model)
            .where(model.id == session_id, model.generation == generation, model.revoked_at.is_(None))
            .values(generation=generation + 1, rotated_at=now, last_seen_at=now)
            .returning(model.id)
        )
        return (await self.session.execute(statement)).one_or_none() is not None

    async def see_session(self, session_id: str, *, now: datetime) -> None:
        """Keep that the session was used now."""
        model = self.models.session
        row = await self.session.get(model, session_id)
        if row is not None:
            set_committed_value(row, "last_seen_at", now)
            # A socket's or a stream's commit may come long after others'.
            condition = and_(model.id == session_id, model.last_seen_at < now)
            self._with_commit(update(model).where(condition).values(last_seen_at=now))

    async def revoke_session(self, session_id: str, *, now: datetime, user_id: UserId | None = None) -> UserId | None:
        """End a session, of this user alone if one is given; whose it was, or `None` when there was no living one."""
        ended = await self._revoke(now, [self.models.session.id == session_id], user_id)
        return ended[0] if ended else None

    async def revoke_sessions(self, user_id: UserId, *, now: datetime, but: str | None = None) -> int:
        """End all sessions of a user, except the one `but`; how many that were."""
        conditions = [] if but is None else [self.models.session.id != but]
        return len(await self._revoke(now, conditions, user_id))

    async def _revoke(self, now: datetime, conditions: list[Any], user_id: UserId | None) -> list[UserId]:
        model = self.models.session
        statement = update(model).where(model.revoked_at.is_(None), *conditions).values(revoked_at=now)
        if user_id is not None:
            statement = statement.where(model.user_id == user_id)
        return list((await self.session.scalars(statement.returning(model.user_id))).all())

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
        """The user's living sessions, newest first."""
        model = self.models.session
        statement = select(model).where(model.user_id == user_id, *self._living(now, lifetime, idle))
        if after is not None:
            created_at, session_id = after
            older = and_(model.created_at == created_at, model.id < session_id)
            statement = statement.where(or_(model.created_at < created_at, older))
        statement = statement.order_by(model.created_at.desc(), model.id.desc()).limit(limit)
        return (await self.session.scalars(statement)).all()

    # Tokens that are good once

    async def add_token(
        self, *, digest: bytes, purpose: str, user_id: UserId, session_id: str | None, expires_at: datetime
    ) -> None:
        """Keep a token's digest."""
        columns: Any = {
            "digest": digest,
            "purpose": purpose,
            "user_id": user_id,
            "session_id": session_id,
            "expires_at": expires_at,
        }
        self.session.add(self.models.token(**columns))
        await self.session.flush()

    async def token_owner(self, digest: bytes, *, purpose: str, now: datetime) -> UserId | None:
        """Whose the living token with this digest is; it stays."""
        model = self.models.token
        statement = select(model.user_id).where(
            model.digest == digest, model.purpose == purpose, model.expires_at > now
        )
        owner: UserId | None = await self.session.scalar(statement)
        return owner

    async def take_token(self, digest: bytes, *, purpose: str, now: datetime) -> TakenToken | None:
        """The living token with this digest, removed: the next call does not find it, nor does a simultaneous one."""
        model = self.models.token
        statement = (
            delete(model)
            .where(model.digest == digest, model.purpose == purpose, model.expires_at > now)
            .returning(model.user_id, model.session_id)
        )
        row = (await self.session.execute(statement)).one_or_none()
        return None if row is None else TakenToken(row.user_id, row.session_id)

    async def count_tokens(self, user_id: UserId, *, purpose: str, now: datetime) -> int:
        """How many living tokens the user has for `purpose`."""
        model = self.models.token
        statement = select(func.count()).where(
            model.user_id == user_id, model.purpose == purpose, model.expires_at > now
        )
        return int(await self.session.scalar(statement) or 0)

    async def drop_tokens(self, user_id: UserId, *, purpose: str) -> None:
        """Forget the user's tokens for `purpose`."""
        model = self.models.token
        await self.session.execute(delete(model).where(model.user_id == user_id, model.purpose == purpose))

    async def drop_expired(self, *, now: datetime, lifetime: timedelta) -> None:
        """Remove tokens and sessions that nobody can use any more."""
        token, auth_session = self.models.token, self.models.session
        await self.session.execute(delete(token).where(token.expires_at <= now))
        await self.session.execute(delete(auth_session).where(auth_session.created_at <= now - lifetime))

    # API keys

    async def add_api_key(self, **columns: Any) -> AuthApiKey:
        """A new API key."""
        key = self._api_key(**columns)
        self.session.add(key)
        await self.session.flush()
        return key

    async def api_key_by_id(self, key_id: int) -> AuthApiKey | None:
        """The API key with this id."""
        model = self.models.api_key
        return None if model is None else await self.session.get(model, key_id)

    async def see_api_key(self, key: AuthApiKey, *, now: datetime) -> None:
        """Keep that the key was used now."""
        model = self._api_key
        set_committed_value(key, "last_used_at", now)
        self._with_commit(update(model).where(model.id == key.id).values(last_used_at=now))

    async def revoke_api_key(self, key_id: int, *, now: datetime) -> bool:
        """End a key; false when there was no living one."""
        model = self._api_key
        statement = (
            update(model)
            .where(model.id == key_id, model.revoked_at.is_(None))
            .values(revoked_at=now)
            .returning(model.id)
        )
        return (await self.session.execute(statement)).one_or_none() is not None

    async def living_api_keys(self, *, limit: int, before: int | None = None) -> Sequence[AuthApiKey]:
        """The keys that are not revoked, newest first."""
        model = self._api_key
        statement = select(model).where(model.revoked_at.is_(None))
        if before is not None:
            statement = statement.where(model.id < before)
        return (await self.session.scalars(statement.order_by(model.id.desc()).limit(limit))).all()

    @property
    def _api_key(self) -> type[ApiKeyMixin]:
        if self.models.api_key is None:
            raise RuntimeError("AuthModels was given no model of API keys")
        return self.models.api_key


def _has_related(row: object) -> bool:
    state = instance_state(row)
    return any(each.key in state.dict for each in state.mapper.relationships)


class _Mould(Generic[T]):
    """What rows are made from that are equal to one: a fifth of the price, because it is known to be loaded.

    Args:
        row: As a query gave it.
    """

    __slots__ = ("_expired", "_is_unchanging", "_key", "_manager", "_values")

    def __init__(self, row: T) -> None:
        state = instance_state(row)
        self._manager = state.manager
        self._key = state.key
        self._expired = frozenset(state.expired_attributes)
        values = {each.key: state.dict[each.key] for each in state.mapper.column_attrs if each.key in state.dict}
        self._is_unchanging = _UNCHANGING.issuperset(map(type, values.values()))
        # What could be changed in place must not be changed in what is kept.
        self._values = values if self._is_unchanging else deepcopy(values)

    def make(self) -> T:
        """A row of no database session yet."""
        row: Any = self._manager.new_instance()
        row.__dict__.update(self._values if self._is_unchanging else deepcopy(self._values))
        state = instance_state(row)
        state.key = self._key
        state.expired_attributes.update(self._expired)
        # As a merge tells it: to a model's `reconstructor`, and to values that report what is changed in them.
        self._manager.dispatch.load(state, None)
        made: T = row
        return made


@dataclass(frozen=True, slots=True)
class _Kept(SessionAndUser[U]):
    """What `SQLAlchemyStore.detach` gives."""

    session_mould: _Mould[AuthSession]
    user_mould: _Mould[U]


class _Attached(SessionAndUser[U]):
    """What `SQLAlchemyStore.attach` gives. Few routes ask for the session's row, which is made for those that do."""

    __slots__ = ("_kept", "_row", "_taken_by")

    _taken_by: LazySession
    _kept: _Kept[U]
    _row: AuthSession | None

    def __init__(self, taken_by: LazySession, kept: _Kept[U]) -> None:
        _set(self, "user", taken_by.take_in(kept.user_mould.make()))
        _set(self, "_taken_by", taken_by)
        _set(self, "_kept", kept)
        _set(self, "_row", None)

    @property
    def session(self) -> AuthSession:
        """The session."""
        if self._row is None:
            _set(self, "_row", self._taken_by.take_in(self._kept.session_mould.make()))
        row: Any = self._row
        found: AuthSession = row
        return found
