"""What is given by mistake is refused where it is written, not at the first request."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy.orm import DeclarativeBase

from hardpoint.auth import (
    AccessTokens,
    Auth,
    Key,
    KeySet,
    MemoryDatabase,
    MemoryStore,
    PasswordHasher,
    PrincipalCache,
    Roles,
    UserMixin,
    api_keys_router,
    auth_lifespan,
    auth_router,
    require_owner,
)
from hardpoint.errors import NotFound
from hardpoint.ratelimit import MemoryLimiter

SECRET = b"a secret of thirty-two bytes or more"
KEY = Key.from_secret(SECRET)
make_auth: Any = partial(Auth, store=MemoryStore, secret=SECRET, require_verified_email=False)


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"


class NoRegistration(BaseModel):
    email: str


async def load() -> User:
    raise NotFound


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: make_auth(models=User, store=None), r"models takes AuthModels.beside\(User\), not the class User"),
        (lambda: make_auth(store=MemoryDatabase()), "store takes a function of a session, .* not a MemoryDatabase"),
        (lambda: make_auth(secret=SECRET.decode()), "secret takes bytes, .* not a str"),
        (lambda: make_auth(secret=None), "secret takes bytes, .* not a NoneType"),
        (lambda: make_auth(hasher=PasswordHasher), "hasher takes .* not the class PasswordHasher"),
        (lambda: make_auth(notifier=print), "notifier takes an AuthNotifier, not a builtin"),
        (lambda: make_auth(limiter=MemoryLimiter()), "limiter takes .* FailureLimiter.* not a MemoryLimiter"),
        (lambda: make_auth(cache=PrincipalCache), "cache takes an object, not the class PrincipalCache"),
        (lambda: AccessTokens(KEY, issuer="shop", audience="shop"), r"keys takes KeySet\("),  # type: ignore[arg-type]
        (lambda: Roles(["user", "admin"]), "no role's name; write Roles"),  # type: ignore[arg-type]
        (lambda: Roles("user", "admin").require(["admin"]), "no role's name; write require"),  # type: ignore[arg-type]
        (lambda: require_owner(load, owner_id="user_id"), "owner_id takes a function, .* 'user_id'"),  # type: ignore[arg-type]
        (lambda: auth_lifespan("sqlite+aiosqlite://", make_auth()), r"auth takes Auth\(...\), .* URL"),  # type: ignore[arg-type]
        (lambda: auth_router(registration=False), "registration takes .* None"),  # type: ignore[arg-type]
        (lambda: auth_router(registration=NoRegistration), "a subclass of Registration"),  # type: ignore[arg-type]
        (lambda: api_keys_router(guard=Roles("admin").require("admin")), r"guard takes Depends\("),
    ],
)
def test_what_is_something_else_is_refused_with_what_to_write(make: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError, match=told) as refused:
        make()
    assert SECRET.decode() not in str(refused.value)


@pytest.mark.parametrize("options", [{"issuer": None}, {"issuer": ""}, {"audience": None}, {"audience": ""}])
def test_an_issuer_and_an_audience_that_are_not_set_are_refused(options: dict[str, Any]) -> None:
    named: dict[str, Any] = {"issuer": "shop", "audience": "shop", **options}
    with pytest.raises(ValueError, match="must not be empty"):
        AccessTokens(KeySet(KEY), **named)
