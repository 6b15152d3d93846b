"""Accounts: what the time of an answer tells, and what is held while passwords are hashed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from hardpoint.auth import (
    Auth,
    AuthModels,
    Client,
    MemoryDatabase,
    MemoryStore,
    PasswordHasher,
    UserMixin,
    auth_router,
)
from hardpoint.db import CursorSigner, Database, open_database
from hardpoint.errors import InvalidCredentials, TokenReused, ValidationFailed
from hardpoint.lifespan import Lifespan, Resource
from support.asgi import call, http_scope, logged

SECRET = b"a secret of thirty-two bytes or more"
PASSWORD = "correct horse battery staple"
NEW = "a completely new password"
CLIENT = Client(address="203.0.113.7", device="probe")


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"


MODELS = AuthModels.beside(User)


class Mails:
    """What would have been mailed, and what had been answered by then."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.mailed_after: list[list[str]] = []
        self.tokens: list[str] = []
        self.breaks = False

    async def verify_email(self, session: Any, user: Any, token: str) -> None: ...

    async def already_registered(self, session: Any, user: Any) -> None: ...

    async def reset_password(self, session: Any, user: Any, token: str) -> None:
        if self.breaks:
            raise RuntimeError("no paper")
        self.mailed_after.append([*self.answered])
        self.tokens.append(token)


async def forget(app: Any, state: dict[str, Any], mails: Mails, email: str) -> int:
    """The status of the answer; what runs after it has run as well."""
    body = f'{{"email": "{email}"}}'.encode()
    headers = [("content-type", "application/json")]
    scope = http_scope("/auth/forgot-password", "POST", headers=headers, state=state)

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                mails.answered.append(email)

        await app(scope, receive, told)

    messages = await call(telling, scope, {"type": "http.request", "body": body, "more_body": False})
    status: int = messages[0]["status"]
    return status


async def test_what_differs_for_a_known_address_comes_after_the_answer() -> None:
    mails, database = Mails(), MemoryDatabase()
    auth = Auth(store=MemoryStore, secret=SECRET, notifier=mails)
    async with database.session() as session:
        await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
    lifespan = Lifespan(
        Resource("database", lambda _: nullcontext(database)),
        Resource.constant("cursor_signer", CursorSigner(SECRET)),
        Resource.constant("auth", auth),
    )
    app = FastAPI()
    app.include_router(auth_router())
    async with lifespan(app) as opened:
        state = dict(opened or {})
        assert await forget(app, state, mails, "nobody@example.com") == 202
        assert await forget(app, state, mails, "ann@example.com") == 202
        assert mails.mailed_after == [["nobody@example.com", "ann@example.com"]]
        assert len(database.tokens) == 1
        # What fails then has nobody to be told but the log, and leaves no token behind that nobody was sent.
        mails.breaks = True
        with logged() as records:
            assert await forget(app, state, mails, "ann@example.com") == 202
        assert records.fields("reset_not_sent") == [{"error": "RuntimeError"}]
        assert len(database.tokens) == 1


async def test_a_login_stores_the_hash_that_was_made_anew_and_a_failure_does_not() -> None:
    database = MemoryDatabase()

    def auth_with(memory_kib: int) -> Auth[Any, Any]:
        hasher = PasswordHasher(memory_kib=memory_kib, iterations=1)
        return Auth(store=MemoryStore, secret=SECRET, hasher=hasher, require_verified_email=False)

    old, new = auth_with(64), auth_with(128)
    async with database.session() as session:
        await old.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
    stored = database.users[1].password_hash
    with pytest.raises(InvalidCredentials):
        async with database.session() as session:
            await new.log_in(session, email="ann@example.com", password=NEW, client=CLIENT)
    assert database.users[1].password_hash == stored
    async with database.session() as session:
        await new.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
    newer = database.users[1].password_hash
    assert newer is not None
    assert newer != stored
    assert "m=128," in newer
    # With the same parameters it stays as it is.
    async with database.session() as session:
        await new.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
    assert database.users[1].password_hash == newer


async def test_an_account_that_is_disabled_while_its_password_is_looked_at_does_not_log_in() -> None:
    database, hasher = MemoryDatabase(), SlowHasher()
    auth = Auth(store=MemoryStore, secret=SECRET, hasher=hasher, require_verified_email=False)
    async with database.session() as session:
        await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
    hasher.began.clear()
    hasher.go_on.clear()

    async def log_in() -> None:
        with pytest.raises(InvalidCredentials):
            async with database.session() as session:
                await auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)

    async with asyncio.TaskGroup() as group:
        group.create_task(log_in())
        await hasher.began.wait()
        database.users[1].is_active = False
        hasher.go_on.set()
    assert database.sessions == {}


class SlowHasher(PasswordHasher):
    """One that waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(memory_kib=64, iterations=1)
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def hash(self, password: str) -> str:
        await self._wait()
        return await super().hash(password)

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        await self._wait()
        return await super().verify(password, stored)

    async def _wait(self) -> None:
        self.began.set()
        await self.go_on.wait()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """One connection, and no other."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'one.db'}"
    async with open_database(url, pool_size=1, max_overflow=0, pool_timeout_seconds=2) as opened:
        await opened.create_tables(Base.metadata)
        yield opened


@pytest.mark.parametrize("what", ["register", "log_in", "change_password", "reset_password"])
async def test_no_connection_is_held_while_a_password_is_hashed(database: Database, what: str) -> None:
    """Whoever sends passwords to be hashed would take the database from everybody else."""
    mails, hasher = Mails(), SlowHasher()
    auth = Auth(models=MODELS, secret=SECRET, hasher=hasher, notifier=mails)
    async with database.session() as session:
        ann = await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
        await auth.forgot_password(session, "ann@example.com")
    hasher.began.clear()
    hasher.go_on.clear()

    async def change(session: Any) -> None:
        user = await session.get_one(User, ann.id)
        given: dict[str, Any] = {"current": PASSWORD, "new": NEW, "keep_session": None, "client": CLIENT}
        await auth.change_password(session, user, **given)

    calls: dict[str, Callable[[Any], Awaitable[object]]] = {
        "register": lambda session: auth.register(session, email="ben@example.com", password=PASSWORD),
        "log_in": lambda session: auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT),
        "change_password": change,
        "reset_password": lambda session: auth.reset_password(session, mails.tokens[0], NEW),
    }

    async def run() -> None:
        async with database.session() as session:
            await calls[what](session)

    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        await hasher.began.wait()
        # It would wait for the one connection in vain.
        await database.ping()
        hasher.go_on.set()


async def test_a_plain_session_whose_rows_expire_with_a_commit_is_one(database: Database) -> None:
    """SQLAlchemy's own default, which an application's sessions may have."""
    auth = Auth(models=MODELS, secret=SECRET, require_verified_email=False, grace_seconds=0)
    async with database.session() as session:
        ann = await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
    plain = async_sessionmaker(database.engine)
    for attempt in ("wrong", PASSWORD):
        async with plain() as session:
            user = await session.get_one(User, ann.id)
            change = auth.change_password(session, user, current=attempt, new=NEW, keep_session=None, client=CLIENT)
            with nullcontext() if attempt == PASSWORD else pytest.raises(ValidationFailed):
                await change
            await session.commit()
    with pytest.raises(InvalidCredentials):
        async with plain() as session:
            await auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
    async with plain() as session:
        found = await auth.log_in(session, email="ann@example.com", password=NEW, client=CLIENT)
        assert found.user.email == "ann@example.com"
        token = auth.tokens_of(found.session).refresh_token
        await session.commit()
    async with plain() as session:
        await auth.refresh(session, token)
        await session.commit()
        with pytest.raises(TokenReused):
            await auth.refresh(session, token)
