"""Each link from a header to a role, replaced alone, on a route and on a socket of one application."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy.orm import DeclarativeBase
from starlette.testclient import WebSocketDenialResponse

from hardpoint import context
from hardpoint.auth import (
    AccessClaims,
    Auth,
    AuthModels,
    Credentials,
    CurrentUser,
    MemoryDatabase,
    MemorySession,
    MemoryStore,
    MemoryUser,
    OptionalUser,
    Principal,
    Roles,
    SessionAndUser,
    UnsavedSession,
    UserMixin,
    access_claims,
    allowed_origins,
    auth_lifespan,
    auth_router,
    credentials,
    current_principal,
    current_role,
    current_user,
    get_auth,
    optional_principal,
    require_owner,
    require_scope,
)
from hardpoint.db import CursorSigner, Database, Session, get_database, session
from hardpoint.errors import install_error_handlers
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.routing import CompiledRoute
from hardpoint.testing import signed_in

PASSWORD = "correct horse battery staple"
SECRET = b"a secret of thirty-two bytes or more"
ORIGIN = "https://app.example.com"
require_admin = Roles("user", "admin").require("admin")


async def thing() -> dict[str, int]:
    return {"owner": 4711}


class Application:
    """One with a guarded route and a guarded socket, and an account in it."""

    def __init__(self) -> None:
        self.auth = Auth(store=self._store, secret=SECRET, require_verified_email=False)
        # The sessions in which anything was asked of the store.
        self.asked_in: list[MemorySession] = []
        self.database = MemoryDatabase()
        self.app = FastAPI(
            lifespan=Lifespan(
                Resource("database", lambda _: nullcontext(self.database)),
                Resource.constant("cursor_signer", CursorSigner(SECRET)),
                Resource.constant("auth", self.auth),
            )
        )
        install_error_handlers(self.app)
        self.app.include_router(auth_router())

        @self.app.get("/me")
        async def me(user: CurrentUser[MemoryUser]) -> str:
            return user.email

        @self.app.get("/anybody")
        async def anybody(user: OptionalUser[MemoryUser]) -> str:
            return "nobody" if user is None else user.email

        @self.app.get("/admin")
        async def admin(user: Annotated[MemoryUser, Depends(require_admin)]) -> str:
            return user.email

        @self.app.get("/thing")
        async def owned(
            found: Annotated[Any, Depends(require_owner(thing, owner_id=lambda one: one["owner"], roles=["admin"]))],
        ) -> Any:
            return found

        @self.app.websocket("/me")
        async def socket(websocket: WebSocket, user: CurrentUser[MemoryUser]) -> None:
            await websocket.accept()
            await websocket.send_text(user.email)

        @self.app.websocket("/admin")
        async def admins_socket(websocket: WebSocket, user: Annotated[MemoryUser, Depends(require_admin)]) -> None:
            await websocket.accept()
            await websocket.send_text(user.email)

        asyncio.run(self._register("ann@example.com"))

    def _store(self, transaction: MemorySession) -> MemoryStore:
        self.asked_in.append(transaction)
        return MemoryStore(transaction)

    async def _register(self, email: str) -> None:
        async with self.database.session() as transaction:
            await self.auth.create_user(transaction, email=email, password=PASSWORD, role="user")

    @contextmanager
    def with_override(self, link: Callable[..., Any], replacement: Callable[..., Any]) -> Iterator[None]:
        self.app.dependency_overrides[link] = replacement
        try:
            yield
        finally:
            self.app.dependency_overrides.clear()


class Visitor:
    """Asks a route and a socket of the same path, and is told the same by both."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def ask(self, path: str, headers: dict[str, str] | None = None) -> str | int:
        """The text of the answer, or the status of its refusal."""
        answer = self.client.get(path, headers=headers)
        told: str | int = answer.json() if answer.status_code == 200 else answer.status_code
        if isinstance(told, str):
            with self.client.websocket_connect(path, headers=dict(headers or {})) as socket:
                assert socket.receive_text() == told
        else:
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                self.client.websocket_connect(path, headers=dict(headers or {})),
            ):
                pass
            assert refused.value.status_code == told
        return told


@pytest.fixture(scope="module")
def application() -> Application:
    return Application()


@pytest.fixture
def visitor(application: Application) -> Iterator[Visitor]:
    with TestClient(application.app) as client:
        yield Visitor(client)


def token_of(client: TestClient, email: str = "ann@example.com") -> str:
    answer = client.post("/auth/login", data={"username": email, "password": PASSWORD})
    token: str = answer.json()["access_token"]
    return token


def bearer(client: TestClient) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(client)}"}


BEN = MemoryUser(id=2, email="ben@example.com", role="admin", created_at=None)  # type: ignore[arg-type] # not looked at


def test_without_replacements_the_header_decides(visitor: Visitor) -> None:
    headers = bearer(visitor.client)
    assert visitor.ask("/me") == 401
    assert visitor.ask("/me", {"Authorization": "Bearer x"}) == 401
    assert visitor.ask("/me", headers) == "ann@example.com"
    assert visitor.ask("/admin", headers) == 403


def test_the_header_is_replaced(visitor: Visitor, application: Application) -> None:
    """What a connection brings may come from anywhere; all that follows looks at it as ever."""
    token = token_of(visitor.client)
    for sent, told in [(token, "ann@example.com"), (token + "x", 401), (None, 401)]:
        with application.with_override(credentials, elsewhere_of(sent)):
            assert visitor.ask("/me") == told
            assert visitor.ask("/admin") == (403 if told == "ann@example.com" else 401)


def elsewhere_of(token: str | None) -> Callable[..., Any]:
    async def elsewhere() -> Credentials:
        return Credentials(bearer=token)

    return elsewhere


def test_the_token_is_replaced(visitor: Visitor, application: Application) -> None:
    """Another issuer's claims, of a session that is looked up as ever."""
    session_id = application.auth.tokens.verify(token_of(visitor.client)).session_id
    for claimed, told in [(session_id, "ann@example.com"), ("of nobody", 401)]:
        with application.with_override(access_claims, claims_of(claimed)):
            assert visitor.ask("/me") == told
    with application.with_override(access_claims, claims_of(session_id, user_id=2)):
        assert visitor.ask("/me") == 401


def claims_of(session_id: str, user_id: int = 1) -> Callable[..., Any]:
    async def claims() -> AccessClaims:
        return AccessClaims(user_id, session_id, token_id="t", expires_at=0)

    return claims


def test_the_principal_is_replaced(visitor: Visitor, application: Application) -> None:
    async def ben() -> Principal[MemoryUser]:
        return Principal(BEN, UnsavedSession(user_id=2))

    async def nobody() -> None:
        return None

    for link in (optional_principal, current_principal):
        with application.with_override(link, ben):
            assert visitor.ask("/me", {"Authorization": "Bearer x"}) == "ben@example.com"
            assert visitor.ask("/admin") == "ben@example.com"
    with application.with_override(optional_principal, nobody):
        assert visitor.ask("/me", bearer(visitor.client)) == 401


def test_the_user_is_replaced(visitor: Visitor, application: Application) -> None:
    async def ben() -> MemoryUser:
        return BEN

    with application.with_override(current_user, ben):
        assert visitor.ask("/me") == "ben@example.com"
        assert visitor.ask("/admin") == "ben@example.com"
        assert visitor.client.get("/thing").status_code == 200


@pytest.mark.parametrize(("role", "told"), [("admin", "ann@example.com"), ("user", 403), ("", 403)])
def test_the_role_is_replaced(visitor: Visitor, application: Application, role: str, told: str | int) -> None:
    """The user is who they are; what they may do is another's to say."""

    async def elsewhere() -> str:
        return role

    headers = bearer(visitor.client)
    with application.with_override(current_role, elsewhere):
        assert visitor.ask("/admin", headers) == told
        assert visitor.ask("/me", headers) == "ann@example.com"
        assert visitor.ask("/admin") == 401
        assert visitor.client.get("/thing", headers=headers).status_code == (200 if role == "admin" else 404)


def test_a_requirement_is_replaced(visitor: Visitor, application: Application) -> None:
    with application.with_override(require_admin, lambda: BEN):
        assert visitor.ask("/admin") == "ben@example.com"
    assert visitor.ask("/admin") == 401


def test_what_accounts_are_of_is_replaced(visitor: Visitor, application: Application) -> None:
    token = token_of(visitor.client)
    other = Auth(store=MemoryStore, secret=SECRET[::-1], require_verified_email=False)
    with application.with_override(get_auth, lambda: other):
        assert visitor.ask("/me", {"Authorization": f"Bearer {token}"}) == 401


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
@pytest.mark.parametrize("replaced", [None, get_database, session])
def test_the_route_and_the_chain_have_one_session_whatever_gives_it(
    application: Application, visitor: Visitor, route_class: type[APIRoute], replaced: Callable[..., Any] | None
) -> None:
    opened, closed, of_the_route = list[Any](), list[Any](), list[Any]()

    class Elsewhere:
        @asynccontextmanager
        async def session(self) -> AsyncIterator[MemorySession]:
            async with application.database.session() as one:
                opened.append(one)
                yield one
                closed.append(one)

    async def session_of_elsewhere() -> AsyncIterator[MemorySession]:
        async with Elsewhere().session() as one:
            yield one

    path = f"/session/{route_class.__name__}/{replaced.__name__ if replaced else None}"
    router = APIRouter(route_class=route_class)

    @router.get(path, dependencies=[Depends(current_user)])
    async def one(given: Session) -> bool:
        of_the_route.append(given)
        return not closed

    application.app.include_router(router)
    headers = bearer(visitor.client)
    application.asked_in.clear()
    replacements: dict[Any, Any] = {get_database: Elsewhere, session: session_of_elsewhere}
    with nullcontext() if replaced is None else application.with_override(replaced, replacements[replaced]):
        assert visitor.client.get(path, headers=headers).json() is True
    assert [id(each) for each in application.asked_in] == [id(each) for each in of_the_route]
    expected = [] if replaced is None else [id(of_the_route[0])]
    assert [id(each) for each in opened] == [id(each) for each in closed] == expected


@pytest.mark.parametrize("route_class", [APIRoute, CompiledRoute])
def test_the_straight_way_and_the_one_by_links_answer_alike(
    application: Application, visitor: Visitor, route_class: type[APIRoute]
) -> None:
    """An override that concerns nobody makes the chain ask each of its links."""
    app, path = application.app, f"/alike/{route_class.__name__}"
    router = APIRouter(route_class=route_class)

    @router.get(path)
    async def alike(user: CurrentUser[MemoryUser], principal: Annotated[Any, Depends(optional_principal)]) -> list[Any]:
        return [user.email, principal.session.user_id, context.principal.get()]

    app.include_router(router)
    token = token_of(visitor.client)
    form = {"username": "ann@example.com", "password": PASSWORD}
    visitor.client.post("/auth/login?session=cookie", data=form)
    cookie = f"session={visitor.client.cookies.get('session')}"
    visitor.client.cookies.clear()
    brought: list[list[tuple[str, str]]] = [
        [],
        [("Authorization", f"Bearer {token}")],
        [("Authorization", f"Bearer {token}x")],
        [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
        [("Authorization", f"Bearer {token}"), ("X-API-Key", "x")],
        [("Authorization", f"Bearer {token}"), ("X-Other", "1"), ("X-Other", "2")],
        [("Authorization", "Basic x")],
        [("X-API-Key", "x")],
        [("X-API-Key", "x"), ("X-API-Key", "x")],
        [("Cookie", cookie)],
        [("Cookie", cookie), ("Cookie", "other=1")],
        [("Cookie", cookie), ("Cookie", cookie)],
    ]

    def answers() -> list[tuple[int, Any]]:
        told = [visitor.client.get(path, headers=headers) for headers in brought]
        return [(one.status_code, one.json() if one.status_code == 200 else one.json()["code"]) for one in told]

    straight = answers()
    with application.with_override(thing, thing):
        assert answers() == straight
    assert [status for status, _ in straight] == [401, 200, 401, 400, 400, 200, 401, 401, 400, 200, 200, 400]


def test_a_principal_is_equal_to_one_of_the_same_and_stays_as_it_is() -> None:
    of_session = UnsavedSession(user_id=2)
    principal = Principal(BEN, of_session, 7)
    assert (principal.user, principal.session, principal.expires_at) == (BEN, of_session, 7)
    assert principal == Principal.of(SessionAndUser(of_session, BEN), 7)
    assert principal != Principal(BEN, of_session)
    assert principal != "ben"
    assert "expires_at=7" in repr(principal)
    with pytest.raises(AttributeError):
        principal.user = BEN  # type: ignore[misc]


def test_the_origins_are_replaced(visitor: Visitor, application: Application) -> None:
    form = {"username": "ann@example.com", "password": PASSWORD}
    assert visitor.client.post("/auth/login?session=cookie", data=form).status_code == 204
    origin = {"Origin": "https://app.example.com"}
    assert visitor.client.delete("/auth/sessions/x", headers=origin).status_code == 403
    with application.with_override(allowed_origins, lambda: ["https://app.example.com"]):
        assert visitor.client.delete("/auth/sessions/x", headers=origin).status_code == 404


def test_an_origin_that_no_browser_sends_is_told(visitor: Visitor, application: Application) -> None:
    form = {"username": "ann@example.com", "password": PASSWORD}
    assert visitor.client.post("/auth/login?session=cookie", data=form).status_code == 204
    origin = {"Origin": "https://app.example.com"}
    with application.with_override(allowed_origins, lambda: ["https://App.example.com:443"]):
        assert visitor.client.delete("/auth/sessions/x", headers=origin).status_code == 404
    with (
        application.with_override(allowed_origins, lambda: ["https://app.example.com/"]),
        pytest.raises(ValueError, match="is not an origin"),
    ):
        visitor.client.delete("/auth/sessions/x", headers=origin)


def test_one_origin_alone_lets_no_beginning_of_it_in(visitor: Visitor, application: Application) -> None:
    form = {"username": "ann@example.com", "password": PASSWORD}
    assert visitor.client.post("/auth/login?session=cookie", data=form).status_code == 204
    with (
        application.with_override(allowed_origins, lambda: "https://app.example.com"),
        pytest.raises(ValueError, match="allowed_origins must be a list"),
    ):
        visitor.client.delete("/auth/sessions/x", headers={"Origin": "https://app.example.co"})


def test_a_logout_ends_the_session_of_whom_the_chain_says(visitor: Visitor, application: Application) -> None:
    token = token_of(visitor.client)
    with application.with_override(credentials, elsewhere_of(token)):
        assert visitor.client.post("/auth/logout").status_code == 204
        assert visitor.ask("/me") == 401
    assert visitor.client.post("/auth/logout").status_code == 401
    with signed_in(application.app, BEN):
        assert visitor.client.post("/auth/logout").status_code == 204
    with signed_in(application.app, None):
        assert visitor.client.post("/auth/logout", headers=bearer(visitor.client)).status_code == 401


def test_a_cookie_that_no_longer_holds_is_removed_by_a_logout(visitor: Visitor, application: Application) -> None:
    form, origin = {"username": "ann@example.com", "password": PASSWORD}, {"Origin": ORIGIN}
    assert visitor.client.post("/auth/login?session=cookie", data=form).status_code == 204
    kept = {"Cookie": f"session={visitor.client.cookies['session']}"}
    visitor.client.cookies.clear()
    assert visitor.client.delete("/auth/sessions", headers=bearer(visitor.client)).status_code == 204
    # Not even what is for anybody is for its browser, until the cookie is gone.
    assert visitor.client.get("/anybody", headers=kept).status_code == 401
    assert visitor.client.post("/auth/logout", headers=kept).status_code == 403
    with application.with_override(allowed_origins, lambda: [ORIGIN]):
        answer = visitor.client.post("/auth/logout", headers={**kept, **origin})
        assert answer.status_code == 204
        assert 'session=""; HttpOnly; Max-Age=0' in answer.headers["set-cookie"]
        # An access token that does not hold is still an error.
        dead = {**kept, **origin, "Authorization": "Bearer x"}
        assert visitor.client.post("/auth/logout", headers=dead).status_code == 401


def test_anybody_is_somebody_or_nobody(visitor: Visitor) -> None:
    assert visitor.client.get("/anybody").json() == "nobody"
    assert visitor.client.get("/anybody", headers=bearer(visitor.client)).json() == "ann@example.com"
    # What does not hold is never nobody.
    assert visitor.client.get("/anybody", headers={"Authorization": "Bearer x"}).status_code == 401


class Base(DeclarativeBase): ...


class User(UserMixin, Base):
    __tablename__ = "users"


def test_an_open_socket_holds_no_connection_of_the_database(tmp_path: Path) -> None:
    auth = Auth(models=AuthModels.beside(User), secret=SECRET, require_verified_email=False)
    origins = Resource.constant("allowed_origins", [ORIGIN])
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    app = FastAPI(lifespan=auth_lifespan(auth, url, origins, create_tables=True))
    app.include_router(auth_router())

    @app.websocket("/me")
    async def socket(websocket: WebSocket, user: CurrentUser[User], session: Session) -> None:
        await websocket.accept()
        await websocket.receive_text()
        user.name = "Ann"
        await session.commit()
        await websocket.send_text(user.email)

    @app.websocket("/figures", dependencies=[Depends(require_scope("figures"))])
    async def figures(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await websocket.send_text("7")

    with TestClient(app) as client:
        database: Database = client.app_state["database"]

        async def new_key() -> str:
            async with database.session() as session:
                return (await auth.api_keys.create(session, name="k", scopes=["figures"]))[1]

        assert client.portal is not None
        key = client.portal.call(new_key)
        client.post("/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
        form = {"username": "ann@example.com", "password": PASSWORD}
        token = client.post("/auth/login", data=form).json()["access_token"]
        sent = client.post("/auth/login?session=cookie", data=form).headers["set-cookie"]
        client.cookies.clear()
        for path, headers, answer in [
            ("/me", {"Authorization": f"Bearer {token}"}, "ann@example.com"),
            ("/me", {"Cookie": sent.partition(";")[0], "Origin": ORIGIN}, "ann@example.com"),
            ("/figures", {"X-API-Key": key}, "7"),
        ]:
            with client.websocket_connect(path, headers=headers) as opened:
                usage = database.pool_usage()
                assert usage is not None
                assert usage.checked_out == 0
                opened.send_text("go on")
                assert opened.receive_text() == answer
