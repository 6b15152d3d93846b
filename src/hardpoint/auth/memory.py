"""The store in memory: for tests and first steps, and the plainest answer to what a store of one's own has to do.

    Resource("database", lambda _: nullcontext(MemoryDatabase()))
    Auth(store=MemoryStore, ...)

Everything is gone with the process, and other processes know nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Generic

from typing_extensions import TypeVar

from hardpoint.auth.email import email_key
from hardpoint.auth.protocols import AuthSession, AuthUser, SessionAndUser, TakenToken, UserId

__all__ = ["MemoryDatabase", "MemorySession", "MemoryStore", "MemoryUser"]


@dataclass(kw_only=True)
class MemoryUser:
    """A user."""

    id: int
    email: str
    role: str
    created_at: datetime
    is_active: bool = True
    email_verified: bool = False
    password_hash: str | None = None
    name: str | None = None


@dataclass(kw_only=True)
class _Session:
    id: str
    user_id: UserId
    secret: bytes
    generation: int
    rotated_at: datetime
    device: str
    address: str
    created_at: datetime
    last_seen_at: datetime
    revoked_at: datetime | None = None


@dataclass(kw_only=True)
class _ApiKey:
    id: int
    name: str
    digest: bytes
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class _Token:
    purpose: str
    expires_at: datetime
    taken: TakenToken


U = TypeVar("U", bound=AuthUser, default=MemoryUser)


class MemoryDatabase(Generic[U]):
    """What is kept, for all sessions; of one event loop.

    Args:
        user: Makes a user of `id`, `email`, `created_at`, `role`, `is_active`, `email_verified`, `password_hash` and
            whatever else a registration has; its attributes can be set.
        new_id: Makes the id of a new user; 1, 2, 3 and so on by default.
    """

    def __init__(
        self,
        user: Callable[..., U] = MemoryUser,  # type: ignore[assignment] # the default of U.
        *,
        new_id: Callable[[], UserId] | None = None,
    ) -> None:
        self.new_user = user
        self.new_id = new_id or count(1).__next__
        self.new_key_id = count(1).__next__
        self.users: dict[UserId, U] = {}
        self.sessions: dict[str, _Session] = {}
        self.tokens: dict[bytes, _Token] = {}
        self.api_keys: dict[int, _ApiKey] = {}
        self.locks: dict[UserId, asyncio.Lock] = {}

    @asynccontextmanager
    async def session(self) -> AsyncIterator["MemorySession[U]"]:
        """A transaction: kept when the block ends, undone when it raises."""
        session = MemorySession(self)
        try:
            yield session
        except BaseException:
            session.roll_back()
            raise
        session.commit()


@dataclass
class MemorySession(Generic[U]):
    """One transaction. What it writes the others see at once; what it locks they wait for."""

    database: MemoryDatabase[U]
    _undo: list[Callable[[], object]] = field(default_factory=list)
    _after_commit: list[Callable[[], None]] = field(default_factory=list)
    _held: dict[UserId, asyncio.Lock] = field(default_factory=dict)

    def commit(self) -> None:
        """Keep what was written so far."""
        calls = [*self._after_commit]
        self._end()
        for call in calls:
            call()

    def roll_back(self) -> None:
        """Undo what was written since the last commit."""
        for undo in reversed(self._undo):
            undo()
        self._end()

    def _end(self) -> None:
        self._undo.clear()
        self._after_commit.clear()
        for lock in self._held.values():
            lock.release()
        self._held.clear()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call `call` with the next commit."""
        self._after_commit.append(call)

    async def lock(self, user_id: UserId) -> None:
        """Hold this user's lock until the transaction ends."""
        if user_id not in self._held:
            lock = self.database.locks.setdefault(user_id, asyncio.Lock())
            await lock.acquire()
            self._held[user_id] = lock

    def put(self, table: dict[Any, Any], key: Any, row: object) -> None:
        """Add a row."""
        table[key] = row
        self._undo.append(lambda: table.pop(key, None))

    def remove(self, table: dict[Any, Any], key: Any) -> Any:
        """Take a row out; `None` when there is none."""
        row = table.pop(key, None)
        if row is not None:
            self._undo.append(lambda: table.__setitem__(key, row))
        return row

    def change(self, row: Any, **values: Any) -> None:
        """Set attributes of a row."""
        for name, value in values.items():
            self._undo.append(partial(setattr, row, name, getattr(row, name)))
            setattr(row, name, value)


class MemoryStore(Generic[U]):
    """What auth reads and writes, as `AuthStore` says: `Auth(store=MemoryStore)`.

    Args:
        session: The request's transaction.
    """

    def __init__(self, session: MemorySession[U]) -> None:
        self.session = session
        self._data = session.database

    async def commit(self) -> None:
        """Keep what was written so far."""
        self.session.commit()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call `call` when it is kept."""
        self.session.after_commit(call)

    def detach(self, found: SessionAndUser[U]) -> SessionAndUser[U]:
        """A copy."""
        return SessionAndUser(copy(found.session), copy(found.user))

    def attach(self, found: SessionAndUser[U]) -> SessionAndUser[U]:
        """The rows that the copy is of."""
        return self._with_user(found.session.id) or found

    # Users

    async def user_by_email(self, address: str) -> U | None:
        """The user with this address."""
        key = email_key(address)
        return next((user for user in self._data.users.values() if email_key(user.email) == key), None)

    async def user_by_id(self, user_id: UserId) -> U | None:
        """The user with this id."""
        return self._data.users.get(user_id)

    async def locked_user(self, user_id: UserId) -> U | None:
        """The user, whom no other transaction locks until this one ends."""
        await self.session.lock(user_id)
        return self._data.users.get(user_id)

    async def add_user(self, *, email: str, created_at: datetime, **columns: Any) -> U | None:
        """A new user, or `None` when the address has one."""
        if await self.user_by_email(email) is not None:
            return None
        user = self._data.new_user(id=self._data.new_id(), email=email, created_at=created_at, **columns)
        self.session.put(self._data.users, user.id, user)
        return user

    async def set_password(self, user: U, password_hash: str) -> None:
        """Keep a new hash."""
        self.session.change(user, password_hash=password_hash)

    async def set_email_verified(self, user: U) -> None:
        """Keep that the address is proven."""
        self.session.change(user, email_verified=True)

    # Sessions

    async def add_session(self, **columns: Any) -> AuthSession:
        """A new session."""
        row = _Session(**columns)
        self.session.put(self._data.sessions, row.id, row)
        return row

    async def session_by_id(self, session_id: str) -> SessionAndUser[U] | None:
        """The session with its user, unless it is revoked."""
        found = self._with_user(session_id)
        return found if found is not None and found.session.revoked_at is None else None

    def _with_user(self, session_id: str) -> SessionAndUser[U] | None:
        row = self._data.sessions.get(session_id)
        user = None if row is None else self._data.users.get(row.user_id)
        return None if row is None or user is None else SessionAndUser(row, user)

    async def living_roles(
        self, session_ids: Sequence[str], *, now: datetime, lifetime: timedelta, idle: timedelta
    ) -> dict[str, str]:
        """The role of each of these sessions that holds."""
        found = [self._with_user(session_id) for session_id in session_ids]
        return {
            one.session.id: one.user.role
            for one in found
            if one is not None and one.user.is_active and _is_living(one.session, now, lifetime, idle)
        }

    async def rotate(self, session_id: str, *, generation: int, now: datetime) -> bool:
        """Take the step after `generation`, unless it has been taken."""
        row = self._data.sessions.get(session_id)
        if row is None or row.generation != generation or row.revoked_at is not None:
            return False
        self.session.change(row, generation=generation + 1, rotated_at=now, last_seen_at=now)
        return True

    async def see_session(self, session_id: str, *, now: datetime) -> None:
        """Keep that the session was used now."""
        if (row := self._data.sessions.get(session_id)) is not None:
            self.session.change(row, last_seen_at=now)

    async def revoke_session(self, session_id: str, *, now: datetime, user_id: UserId | None = None) -> UserId | None:
        """End a session; whose it was."""
        row = self._data.sessions.get(session_id)
        if row is None or row.revoked_at is not None or user_id not in {None, row.user_id}:
            return None
        self.session.change(row, revoked_at=now)
        return row.user_id

    async def revoke_sessions(self, user_id: UserId, *, now: datetime, but: str | None = None) -> int:
        """End all sessions of a user, except the one `but`; how many that were."""
        rows = [row for row in self._data.sessions.values() if row.user_id == user_id and row.id != but]
        ended = [await self.revoke_session(row.id, now=now) for row in rows]
        return len(ended) - ended.count(None)

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
        rows = [
            row
            for row in self._data.sessions.values()
            if row.user_id == user_id
            and _is_living(row, now, lifetime, idle)
            and (after is None or (row.created_at, row.id) < after)
        ]
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]

    # Tokens that are good once

    async def add_token(
        self, *, digest: bytes, purpose: str, user_id: UserId, session_id: str | None, expires_at: datetime
    ) -> None:
        """Keep a token's digest."""
        token = _Token(purpose, expires_at, TakenToken(user_id, session_id))
        self.session.put(self._data.tokens, digest, token)

    async def token_owner(self, digest: bytes, *, purpose: str, now: datetime) -> UserId | None:
        """Whose the living token is; it stays."""
        token = self._data.tokens.get(digest)
        holds = token is not None and token.purpose == purpose and token.expires_at > now
        return token.taken.user_id if token is not None and holds else None

    async def take_token(self, digest: bytes, *, purpose: str, now: datetime) -> TakenToken | None:
        """The living token, removed."""
        if await self.token_owner(digest, purpose=purpose, now=now) is None:
            return None
        token: _Token = self.session.remove(self._data.tokens, digest)
        return token.taken

    async def count_tokens(self, user_id: UserId, *, purpose: str, now: datetime) -> int:
        """How many living tokens the user has for `purpose`."""
        return sum(
            token.purpose == purpose and token.taken.user_id == user_id and token.expires_at > now
            for token in self._data.tokens.values()
        )

    async def drop_tokens(self, user_id: UserId, *, purpose: str) -> None:
        """Forget the user's tokens for `purpose`."""
        for key, token in [*self._data.tokens.items()]:
            if token.purpose == purpose and token.taken.user_id == user_id:
                self.session.remove(self._data.tokens, key)

    async def drop_expired(self, *, now: datetime, lifetime: timedelta) -> None:
        """Remove tokens and sessions that nobody can use any more."""
        for key, token in [*self._data.tokens.items()]:
            if token.expires_at <= now:
                self.session.remove(self._data.tokens, key)
        for row in [*self._data.sessions.values()]:
            if row.created_at <= now - lifetime:
                self.session.remove(self._data.sessions, row.id)

    # API keys

    async def add_api_key(self, **columns: Any) -> _ApiKey:
        """A new API key."""
        key = _ApiKey(id=self._data.new_key_id(), **columns)
        self.session.put(self._data.api_keys, key.id, key)
        return key

    async def api_key_by_id(self, key_id: int) -> _ApiKey | None:
        """The API key with this id."""
        return self._data.api_keys.get(key_id)

    async def see_api_key(self, key: Any, *, now: datetime) -> None:
        """Keep that the key was used now."""
        self.session.change(key, last_used_at=now)

    async def revoke_api_key(self, key_id: int, *, now: datetime) -> bool:
        """End a key."""
        key = self._data.api_keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return False
        self.session.change(key, revoked_at=now)
        return True

    async def living_api_keys(self, *, limit: int, before: int | None = None) -> Sequence[_ApiKey]:
        """The keys that are not revoked, newest first."""
        keys = [
            key
            for key in self._data.api_keys.values()
            if key.revoked_at is None and (before is None or key.id < before)
        ]
        return sorted(keys, key=lambda key: key.id, reverse=True)[:limit]


def _is_living(row: AuthSession, now: datetime, lifetime: timedelta, idle: timedelta) -> bool:
    return row.revoked_at is None and row.created_at > now - lifetime and row.last_seen_at > now - idle
