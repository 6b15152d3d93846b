"""Auth alone, in a FastAPI application without any other part: no handlers, no middleware."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from sqlalchemy.orm import DeclarativeBase

from hardpoint.auth import (
    Auth,
    AuthModels,
    CurrentUser,
    Roles,
    UserMixin,
    api_keys_router,
    auth_lifespan,
    auth_router,
    require_scope,
)

PASSWORD = "correct horse battery staple"
require_role = Roles("user", "editor", "admin").require


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder: Path = tmp_path_factory.mktemp("bare")
    auth = Auth(models=AuthModels.beside(User), secret=b"x" * 32, require_verified_email=False)
    app = FastAPI(lifespan=auth_lifespan(auth, f"sqlite+aiosqlite:///{folder / 'bare.db'}", create_tables=True))
    app.include_router(auth_router())
    app.include_router(api_keys_router(guard=Depends(require_role("admin"))))

    @app.get("/me")
    async def me(user: CurrentUser[User]) -> str:
        return user.email

    @app.get("/staff")
    async def staff(user: Annotated[User, Depends(require_role("admin", "editor"))]) -> str:
        return user.email

    @app.get("/figures", dependencies=[Depends(require_scope("figures"))])
    async def figures() -> None: ...

    return app


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as running:
        account = {"email": "ann@example.com", "password": PASSWORD}
        assert running.post("/auth/register", json=account).status_code == 202
        yield running


def test_it_logs_in_guards_and_refuses(client: TestClient) -> None:
    login = client.post("/auth/login", data={"username": "ann@example.com", "password": PASSWORD})
    bearer = {"Authorization": f"Bearer {login.json()['access_token']}"}
    assert client.get("/me", headers=bearer).json() == "ann@example.com"
    refused = client.get("/me")
    assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
    assert refused.headers["www-authenticate"] == 'Bearer realm="api"'
    assert client.get("/staff", headers=bearer).status_code == 403
    assert client.get("/figures").headers["www-authenticate"] == 'ApiKey realm="api"'
    assert client.get("/auth/sessions", headers=bearer).json()["items"][0]["current"] is True
    assert client.post("/auth/logout", headers=bearer).status_code == 204
    assert client.get("/me", headers=bearer).status_code == 401


@pytest.mark.parametrize("path", ["register", "login", "reset-password", "refresh", "verify-email", "logout"])
def test_no_secret_is_sent_back_when_something_else_is_wrong(client: TestClient, path: str) -> None:
    """FastAPI's own handler tells the input; of a missing member that is the whole body."""
    secret = "Canary-4711 pass phrase"
    bodies: list[Any] = [{"password": secret}, {"password": [secret]}, {"token": {"x": secret}}, secret, [secret]]
    for body in bodies:
        answer = client.post(f"/auth/{path}", json=body)
        assert answer.status_code == 422
        assert secret not in answer.text
        assert answer.json()["detail"][0]["loc"][0] == "body"
    answer = client.post(f"/auth/{path}", data={"password": secret, "x": secret})
    assert answer.status_code in {415, 422}
    assert secret not in answer.text


def test_the_document_says_how_to_authenticate_and_for_whom(app: FastAPI) -> None:
    document = json.loads(json.dumps(app.openapi()))
    validate(document)
    schemes = document["components"]["securitySchemes"]
    assert schemes["OAuth2PasswordBearer"]["flows"]["password"]["tokenUrl"] == "/auth/login"
    assert (schemes["AccessToken"]["type"], schemes["AccessToken"]["scheme"]) == ("http", "bearer")
    assert (schemes["SessionCookie"]["in"], schemes["SessionCookie"]["name"]) == ("cookie", "session")
    assert (schemes["APIKeyHeader"]["in"], schemes["APIKeyHeader"]["name"]) == ("header", "X-API-Key")
    paths = document["paths"]
    anybody = [{"OAuth2PasswordBearer": []}, {"AccessToken": []}, {"SessionCookie": []}]
    assert sorted(map(str, paths["/me"]["get"]["security"])) == sorted(map(str, anybody))
    # In OpenAPI 3.1 a scheme that is not OAuth 2.0 may name roles.
    assert {"AccessToken": ["admin", "editor"]} in paths["/staff"]["get"]["security"]
    assert {"OAuth2PasswordBearer": []} in paths["/staff"]["get"]["security"]
    assert paths["/figures"]["get"]["security"] == [{"APIKeyHeader": []}]
    assert "security" not in paths["/auth/login"]["post"]
