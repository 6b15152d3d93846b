"""Auth over what a team has: a table with other names and UUIDs, a store and a registration of its own."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import Field, create_model
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    declarative_base,
    mapped_column,
    registry,
    relationship,
    synonym,
)
from sqlalchemy.schema import CreateSchema

from hardpoint.auth import (
    Auth,
    AuthModels,
    AuthNotifier,
    Client,
    CurrentUser,
    MemoryDatabase,
    MemoryStore,
    Registration,
    Roles,
    SQLAlchemyStore,
    UUIDUserMixin,
    auth_lifespan,
    auth_router,
    email_key,
)
from hardpoint.db import Session, UTCDateTime, open_database
from hardpoint.errors import install_error_handlers

PASSWORD = "correct horse battery staple"
NEW = "a completely new password"
SECRET = b"a secret of thirty-two bytes or more"
CLIENT = Client(address="203.0.113.7", device="probe")


class Base(DeclarativeBase): ...


class Account(Base):
    """A table that was there before."""

    __tablename__ = "accounts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    mail: Mapped[str]
    mail_key: Mapped[str] = mapped_column(unique=True)
    hashed: Mapped[str | None]
    groups: Mapped[str] = mapped_column(default="user")
    blocked: Mapped[bool] = mapped_column(default=False)
    confirmed: Mapped[bool] = mapped_column(default=False)
    company: Mapped[str | None]
    plan: Mapped[str]
    newsletter: Mapped[bool]
    source: Mapped[str] = mapped_column(default="unknown")

    email: Mapped[str] = synonym("mail")
    email_key: Mapped[str] = synonym("mail_key")
    password_hash: Mapped[str | None] = synonym("hashed")
    role: Mapped[str] = synonym("groups")
    email_verified: Mapped[bool] = synonym("confirmed")

    @hybrid_property
    def is_active(self) -> bool:
        return not self.blocked

    @is_active.inplace.setter
    def _set_active(self, value: bool) -> None:
        self.blocked = not value

    @is_active.inplace.expression
    @classmethod
    def _active(cls) -> Any:
        return ~cls.blocked


class AccountStore(SQLAlchemyStore[Account]):
    """No `created_at` in that table."""

    async def add_user(self, *, email: str, created_at: Any, **columns: Any) -> Account | None:
        return await self.add(Account(mail=email, mail_key=email_key(email), **columns))

    async def add(self, account: Account) -> Account | None:
        known = select(Account).where(Account.mail_key == account.mail_key)
        if await self.session.scalar(known) is not None:
            return None
        self.session.add(account)
        await self.session.flush()
        return account


class Sent(AuthNotifier[Account]):
    """What would have been mailed."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def verify_email(self, session: Any, user: Account, token: str) -> None:
        self.tokens.append(token)

    async def already_registered(self, session: Any, user: Account) -> None: ...

    async def reset_password(self, session: Any, user: Account, token: str) -> None:
        self.tokens.append(token)


class AccountRegistration(Registration):
    company: str = Field(max_length=50)
    plan: str = "trial"
    newsletter: bool = Field(default_factory=lambda: True)
    source: str | None = None


class Service:
    """An application over that table."""

    def __init__(self, folder: Path) -> None:
        self.sent = Sent()
        models = AuthModels.beside(Account)
        self.auth = Auth(store=lambda session: AccountStore(session, models), secret=SECRET, notifier=self.sent)
        self.tables = Base.metadata
        self.app = FastAPI(lifespan=auth_lifespan(self.auth, f"sqlite+aiosqlite:///{folder / 'own.db'}"))
        install_error_handlers(self.app)
        self.app.include_router(auth_router(registration=AccountRegistration))

        @self.app.get("/me")
        async def me(user: CurrentUser[Account]) -> dict[str, Any]:
            return {"id": str(user.id), "mail": user.mail, "company": user.company}

        @self.app.get("/plan")
        async def plan(user: CurrentUser[Account]) -> list[Any]:
            return [user.plan, user.newsletter, user.source]

        @self.app.post("/block")
        async def block(user: CurrentUser[Account], session: Session) -> None:
            user.blocked = True

        @self.app.get("/admin", dependencies=[Depends(Roles("user", "admin").require("admin"))])
        async def admin() -> None: ...


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(service.app) as running:
        database = running.app_state["database"]
        assert running.portal is not None
        running.portal.call(database.create_tables, service.tables)
        yield running


def log_in(client: TestClient, email: str, password: str = PASSWORD) -> Any:
    return client.post("/auth/login", data={"username": email, "password": password})


def test_an_account_lives_in_a_table_with_other_names(client: TestClient, service: Service) -> None:
    new = {"email": "Ann@Example.com", "password": PASSWORD, "company": "Ann's"}
    assert client.post("/auth/register", json=new).status_code == 202
    assert client.post("/auth/register", json={**new, "email": "ann@example.com"}).status_code == 202
    assert log_in(client, "ann@example.com").status_code == 401
    assert client.post("/auth/verify-email", json={"token": service.sent.tokens.pop()}).status_code == 204
    tokens = log_in(client, "ann@example.com").json()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    me = client.get("/me", headers=bearer).json()
    assert (me["mail"], me["company"]) == ("Ann@example.com", "Ann's")
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert claims["sub"] == me["id"] == str(UUID(me["id"]))
    assert client.get("/admin", headers=bearer).status_code == 403
    assert len(client.get("/auth/sessions", headers=bearer).json()["items"]) == 1
    assert client.post("/auth/ws-ticket", headers=bearer).status_code == 201
    newer = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert newer.status_code == 200
    # A new password, and the end.
    assert client.post("/auth/forgot-password", json={"email": "ann@example.com"}).status_code == 202
    body = {"token": service.sent.tokens.pop(), "password": NEW}
    assert client.post("/auth/reset-password", json=body).status_code == 204
    assert client.get("/me", headers=bearer).status_code == 401
    bearer = {"Authorization": f"Bearer {log_in(client, 'ann@example.com', NEW).json()['access_token']}"}
    assert client.post("/block", headers=bearer).status_code == 200
    assert client.get("/me", headers=bearer).status_code == 401
    assert log_in(client, "ann@example.com", NEW).status_code == 401


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, ["trial", True, "unknown"]),
        ({"plan": "paid", "newsletter": False, "source": "fair"}, ["paid", False, "fair"]),
    ],
)
def test_what_a_registration_has_by_default_is_kept(
    client: TestClient, service: Service, sent: dict[str, Any], kept: list[Any]
) -> None:
    email = f"{kept[0]}@example.com"
    new = {"email": email, "password": PASSWORD, "company": "x", **sent}
    assert client.post("/auth/register", json=new).status_code == 202
    assert client.post("/auth/verify-email", json={"token": service.sent.tokens.pop()}).status_code == 204
    bearer = {"Authorization": f"Bearer {log_in(client, email).json()['access_token']}"}
    assert client.get("/plan", headers=bearer).json() == kept


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({}, ["company"]),
        ({"company": "x" * 51}, ["company"]),
        ({"company": "x", "role": "admin"}, ["role"]),
        ({"company": "x", "blocked": False}, ["blocked"]),
    ],
)
def test_a_registration_takes_what_is_declared_and_nothing_else(
    client: TestClient, change: dict[str, Any], fields: list[str]
) -> None:
    answer = client.post("/auth/register", json={"email": "ben@example.com", "password": PASSWORD, **change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["field_errors"]] == fields


@pytest.mark.parametrize("name", ["role", "is_active", "session"])
def test_a_registration_of_what_auth_decides_is_refused_at_once(name: str) -> None:
    """Each registration would be a 500."""
    with pytest.raises(ValueError, match=f"cannot have {name}"):
        auth_router(registration=create_model("Chosen", __base__=Registration, **{name: (str, "x")}))


def test_accounts_that_are_made_by_invitation_have_no_registration() -> None:
    app = FastAPI()
    app.include_router(auth_router(registration=None))
    assert "/auth/register" not in app.openapi()["paths"]
    assert "/auth/login" in app.openapi()["paths"]


def test_uuids_with_our_own_mixin(tmp_path: Path) -> None:
    class OtherBase(DeclarativeBase): ...

    class User(UUIDUserMixin, OtherBase):
        __tablename__ = "users"

    auth = Auth(models=AuthModels.beside(User), secret=SECRET, require_verified_email=False)
    lifespan = auth_lifespan(auth, f"sqlite+aiosqlite:///{tmp_path / 'uuid.db'}", create_tables=True)
    app = FastAPI(lifespan=lifespan)
    app.include_router(auth_router())

    @app.get("/me")
    async def me(user: CurrentUser[User]) -> UUID:
        return user.id

    with TestClient(app) as client:
        client.post("/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
        bearer = {"Authorization": f"Bearer {log_in(client, 'ann@example.com').json()['access_token']}"}
        assert UUID(client.get("/me", headers=bearer).json()).version == 4
        assert client.delete("/auth/sessions", headers=bearer).status_code == 204
        assert client.get("/me", headers=bearer).status_code == 401


class Columns:
    """What a table has that was there before, beside its primary key."""

    email: Mapped[str]
    email_key: Mapped[str]
    role: Mapped[str]
    is_active: Mapped[bool]
    email_verified: Mapped[bool]
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(UTCDateTime())


def of_a_schema() -> Any:
    class OtherBase(DeclarativeBase): ...

    class User(UUIDUserMixin, OtherBase):
        __tablename__ = "users"
        __table_args__ = ({"schema": "people"},)

    return User


def by_another_column() -> Any:
    class OtherBase(DeclarativeBase): ...

    class User(Columns, OtherBase):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column("user_id", primary_key=True)

    return User


def by_a_synonym() -> Any:
    class OtherBase(DeclarativeBase): ...

    class User(Columns, OtherBase):
        __tablename__ = "users"
        number: Mapped[int] = mapped_column(primary_key=True)
        id: Mapped[int] = synonym("number")

    return User


def of_a_base_as_it_was() -> Any:
    other_base: Any = declarative_base()

    class User(UUIDUserMixin, other_base):
        __tablename__ = "users"

    return User


def of_dataclasses() -> Any:
    class OtherBase(MappedAsDataclass, DeclarativeBase): ...

    class User(OtherBase):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(init=False, primary_key=True)
        email: Mapped[str]
        email_key: Mapped[str]
        role: Mapped[str]
        is_active: Mapped[bool]
        email_verified: Mapped[bool]
        password_hash: Mapped[str | None]
        created_at: Mapped[datetime] = mapped_column(UTCDateTime())

    return User


def of_a_base_with_columns() -> Any:
    class OtherBase(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant: Mapped[str]

    class User(Columns, OtherBase):
        __tablename__ = "users"
        tenant: Mapped[str] = mapped_column(default="one")

    return User


def of_no_base() -> Any:
    class User(UUIDUserMixin):
        __tablename__ = "users"

    return registry().mapped(User)


OWN = [
    of_a_schema,
    by_another_column,
    by_a_synonym,
    of_a_base_as_it_was,
    of_dataclasses,
    of_a_base_with_columns,
    of_no_base,
]


@pytest.mark.parametrize("model", OWN)
async def test_the_other_models_stand_beside_any_user(model: Any, postgres_url: str) -> None:
    models = AuthModels.beside(model())
    auth = Auth(models=models, secret=SECRET, require_verified_email=False)
    async with open_database(postgres_url) as database:
        async with database.session() as session:
            await session.execute(CreateSchema("people"))
        await database.create_tables(models.metadata)
        async with database.session() as session:
            await auth.register(session, email="ann@example.com", password=PASSWORD)
        async with database.session() as session:
            found = await auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
        async with database.session() as session:
            claims = auth.tokens.verify(auth.tokens_of(found.session).access_token)
            found = await auth.authenticate(session, claims)
            ticket = await auth.new_ws_ticket(session, found.user, found.session.id)
            assert (await auth.take_ws_ticket(session, ticket)).user.id == found.user.id
            await auth.api_keys.create(session, name="k", scopes=[])
            # Their sessions end with them.
            await session.delete(await session.get_one(models.user, found.user.id))
        async with database.session() as session:
            assert (await session.scalars(select(models.session))).all() == []


async def test_a_user_may_load_others_by_a_join(database_url: str) -> None:
    class OtherBase(DeclarativeBase): ...

    class Team(OtherBase):
        __tablename__ = "teams"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Post(OtherBase):
        __tablename__ = "posts"
        id: Mapped[int] = mapped_column(primary_key=True)
        author_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))

    class User(UUIDUserMixin, OtherBase):
        __tablename__ = "users"
        team_id: Mapped[int | None] = mapped_column(ForeignKey(Team.id))
        team: Mapped[Team | None] = relationship(lazy="joined")
        posts: Mapped[list[Post]] = relationship(lazy="joined")

    auth = Auth(models=AuthModels.beside(User), secret=SECRET, require_verified_email=False)
    async with open_database(database_url) as database:
        await database.create_tables(OtherBase.metadata)
        async with database.session() as session:
            user = await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
            session.add_all([Post(author_id=user.id), Post(author_id=user.id)])
        async with database.session() as session:
            found = await auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
            claims = auth.tokens.verify(auth.tokens_of(found.session).access_token)
        async with database.session() as session:
            user = (await auth.authenticate(session, claims)).user
            assert (user.team, len(user.posts)) == (None, 2)


def test_models_stand_beside_no_user_with_two_keys() -> None:
    class OtherBase(DeclarativeBase): ...

    class User(Columns, OtherBase):
        __tablename__ = "users"
        tenant: Mapped[int] = mapped_column(primary_key=True)
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(ValueError, match="one column as its primary key"):
        AuthModels.beside(User)


def test_tables_of_a_store_are_not_ours_to_make() -> None:
    auth = Auth(store=MemoryStore, secret=SECRET, require_verified_email=False)
    with pytest.raises(ValueError, match="create_tables=False"):
        auth_lifespan(auth, "sqlite+aiosqlite://", create_tables=True)


async def test_a_user_of_memory_may_have_any_id() -> None:
    database = MemoryDatabase(new_id=uuid4)
    auth = Auth(store=MemoryStore, secret=SECRET, require_verified_email=False)
    async with database.session() as session:
        user: Any = await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")
        found = await auth.log_in(session, email="ann@example.com", password=PASSWORD, client=CLIENT)
        claims = auth.tokens.verify(auth.tokens_of(found.session).access_token)
        assert claims.user_id == user.id
        assert isinstance(claims.user_id, UUID)
