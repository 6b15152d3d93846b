"""What a type checker has to say of auth over one's own models and stores; `make lint` asks it.

A line with `type: ignore` is an error that has to be found: the checker refuses one that is of no use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, synonym

from hardpoint.auth import (
    Auth,
    AuthModels,
    AuthStore,
    AuthUser,
    Client,
    CurrentUser,
    MemoryDatabase,
    MemorySession,
    MemoryStore,
    MemoryUser,
    OptionalUser,
    Principal,
    SQLAlchemyStore,
    UserMixin,
    UUIDUserMixin,
)

SECRET = b"a secret of thirty-two bytes or more"
CLIENT = Client(address="", device="")


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"
    newsletter: Mapped[bool]


class UUIDUser(UUIDUserMixin, Base):
    __tablename__ = "uuid_users"


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    mail: Mapped[str]
    email: Mapped[str] = synonym("mail")
    email_key: Mapped[str]
    role: Mapped[str]
    is_active: Mapped[bool]
    email_verified: Mapped[bool]
    password_hash: Mapped[str | None]


class NoUser(Base):
    __tablename__ = "no_users"
    id: Mapped[int] = mapped_column(primary_key=True)


class OddId(UserMixin, Base):
    __tablename__ = "odd_users"
    role: Mapped[int]  # type: ignore[assignment] # a role is a name


@dataclass
class Plain:
    id: int
    email: str
    role: str
    is_active: bool
    email_verified: bool
    password_hash: str | None


# A user's model


def users() -> list[AuthUser]:
    return [User(), UUIDUser(), Account(), Plain(1, "", "", True, True, None)]


def no_users() -> list[AuthUser]:
    return [NoUser()]  # type: ignore[list-item] # it has no e-mail address


over_user = Auth(models=AuthModels.beside(User), secret=SECRET)
assert_type(over_user, Auth[User, AsyncSession])
assert_type(Auth(models=AuthModels.beside(UUIDUser), secret=SECRET), Auth[UUIDUser, AsyncSession])
assert_type(Auth(models=AuthModels.beside(Account), secret=SECRET), Auth[Account, AsyncSession])
AuthModels.beside(NoUser)  # type: ignore[type-var] # no user


async def log_in(auth: Auth[User], session: AsyncSession) -> bool:
    found = await auth.log_in(session, email="", password="", client=CLIENT)
    assert_type(found.user, User)
    assert_type(found.session.created_at, datetime)
    await auth.log_in(object(), email="", password="", client=CLIENT)  # type: ignore[arg-type] # no session
    return found.user.newsletter


# A store


def over_memory() -> Auth[MemoryUser, MemorySession[MemoryUser]]:
    return Auth(store=MemoryStore[MemoryUser], secret=SECRET)


def over_plain(database: MemoryDatabase[Plain]) -> Callable[[MemorySession[Plain]], AuthStore[Plain]]:
    return MemoryStore


class AccountStore(SQLAlchemyStore[Account]):
    async def user_by_email(self, address: str) -> Account | None:
        return None


def over_accounts(models: AuthModels[Account]) -> Auth[Account]:
    return Auth(store=lambda session: AccountStore(session, models), secret=SECRET)


class HalfAStore:
    def __init__(self, session: AsyncSession) -> None: ...

    async def user_by_email(self, address: str) -> Account | None:
        return None


def over_half_a_store() -> Auth[Account]:
    return Auth(store=HalfAStore, secret=SECRET)  # type: ignore[arg-type] # most of it is missing


# Routes

app = FastAPI()


@app.get("/me")
async def me(user: CurrentUser[User], maybe: OptionalUser[User], principal: Principal[User]) -> dict[str, Any]:
    assert_type(user, User)
    assert_type(maybe, User | None)
    assert_type(principal.user, User)
    assert_type(principal.session.id, str)
    return {"newsletter": user.newsletter, "name": user.nickname}  # type: ignore[attr-defined] # there is none


def of_anybody(user: CurrentUser[int]) -> None:  # type: ignore[type-var] # no user
    ...
