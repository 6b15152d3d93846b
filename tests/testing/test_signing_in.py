"""Signing in as any user, without a password and with a real session."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from sqlalchemy.orm import DeclarativeBase

from hardpoint.auth import (
    Auth,
    AuthModels,
    Principal,
    Roles,
    UserMixin,
    auth_router,
    current_principal,
    current_user,
    optional_principal,
)
from hardpoint.db import CursorSigner, Database, open_database
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.testing import bearer, signed_in
from support.asgi import client_of

pytest_plugins = ["hardpoint.testing.plugin"]
SECRET = b"a secret of thirty-two bytes or more"


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"


MODELS = AuthModels.beside(User)
CurrentUser = Annotated[User, Depends(current_user)]
require_role = Roles("user", "admin").require


def make_app() -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(auth_router())

    @app.get("/me")
    async def me(user: CurrentUser) -> str:
        return user.email

    @app.get("/admin", dependencies=[Depends(require_role("admin"))])
    async def admin() -> str:
        return "welcome"

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, user: CurrentUser) -> None:
        await websocket.accept()
        await websocket.send_text(user.email)
        await websocket.close()

    return app


ANN = User(id=1, email="ann@example.com", role="admin")
BEN = User(id=2, email="ben@example.com", role="user")


def test_requests_and_sockets_are_by_the_user_and_roles_are_checked() -> None:
    app = make_app()
    client = TestClient(app)
    with signed_in(app, ANN):
        assert client.get("/me").json() == "ann@example.com"
        assert client.get("/admin").status_code == 200
        with client.websocket_connect("/socket") as socket:
            assert socket.receive_text() == "ann@example.com"
        with signed_in(app, BEN):
            assert client.get("/me").json() == "ben@example.com"
            assert client.get("/admin").status_code == 403
        assert client.get("/me").json() == "ann@example.com"
        with signed_in(app, None):
            assert client.get("/me").status_code == 401
    assert optional_principal not in app.dependency_overrides


def test_the_fixture_lasts_until_the_tests_end(sign_in: Callable[[FastAPI, User | None], None]) -> None:
    app = make_app()
    sign_in(app, ANN)
    assert TestClient(app).get("/me").json() == "ann@example.com"
    sign_in(app, BEN)
    assert TestClient(app).get("/me").json() == "ben@example.com"


def test_each_link_of_the_chain_can_be_replaced_alone() -> None:
    app = make_app()
    client = TestClient(app)

    async def ben() -> User:
        return BEN

    app.dependency_overrides[current_user] = ben
    assert client.get("/me").json() == "ben@example.com"
    app.dependency_overrides.clear()

    async def principal() -> Principal:
        with signed_in(app, ANN):
            found: Principal = await app.dependency_overrides[optional_principal]()
            return found

    app.dependency_overrides[current_principal] = principal
    assert client.get("/admin").status_code == 200


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}") as database:
        await database.create_tables(Base.metadata)
        yield database


async def test_a_bearer_is_a_real_session(database: Database) -> None:
    auth = Auth(models=MODELS, secret=SECRET, require_verified_email=False)
    lifespan = Lifespan(
        Resource.constant("database", database),
        Resource.constant("auth", auth),
        Resource.constant("cursor_signer", CursorSigner(SECRET)),
    )
    app = make_app()
    async with database.session() as session:
        user = await auth.create_user(
            session, email="ann@example.com", password="correct horse battery staple", role="admin"
        )
    header = await bearer(auth, database, user)
    async with lifespan(app) as state, client_of(with_state(app, dict(state or {})), headers=header) as client:
        assert (await client.get("/me")).json() == "ann@example.com"
        (session_out,) = (await client.get("/auth/sessions")).json()["items"]
        assert session_out["current"] is True
        assert (await client.post("/auth/logout")).status_code == 204
        assert (await client.get("/me")).status_code == 401


def with_state(app: FastAPI, state: dict[str, object]) -> Callable[..., object]:
    async def call(scope: dict[str, object], receive: object, send: object) -> None:
        scope["state"] = dict(state)
        await app(scope, receive, send)  # type: ignore[arg-type]

    return call


def test_accounts_without_a_notifier_cannot_demand_a_verified_address() -> None:
    with pytest.raises(ValueError, match="require_verified_email=False"):
        Auth(models=MODELS, secret=SECRET)
