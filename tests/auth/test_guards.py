"""Routes that nobody guards are found wherever they are."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from hardpoint.auth import Auth, MemoryDatabase, MemoryStore, Roles, current_user, require_scope, unguarded_routes
from support.asgi import client_of


def test_a_route_without_a_guard_is_found_wherever_it_is() -> None:
    async def wraps(user: Annotated[object, Depends(current_user)]) -> object:
        return user

    router = APIRouter(prefix="/inner")

    @router.get("/open")
    @router.post("/open")
    async def nobody_thought_of_it() -> None: ...

    @router.get("/wrapped", dependencies=[Depends(wraps)])
    @router.get("/key", dependencies=[Depends(require_scope("metrics"))])
    async def guarded() -> None: ...

    @router.websocket("/socket")
    async def socket(websocket: WebSocket) -> None: ...

    @router.websocket("/guarded-socket", dependencies=[Depends(wraps)])
    async def guarded_socket(websocket: WebSocket) -> None: ...

    app = FastAPI(openapi_url=None)
    app.include_router(router, prefix="/outer")
    app.mount("/elsewhere", FastAPI())
    assert unguarded_routes(app) == {
        "GET /outer/inner/open",
        "POST /outer/inner/open",
        "WEBSOCKET /outer/inner/socket",
        "MOUNT /elsewhere",
    }
    assert unguarded_routes(app, guards=[nobody_thought_of_it]) == {
        "WEBSOCKET /outer/inner/socket",
        "MOUNT /elsewhere",
    }


SCOPES = ["metrics", "orders:read", "https://example.com/scopes/a,b~1!", "A#[]"]
NO_SCOPES = ["", "a b", 'a"b', "a\\b", "a\tb", "a\n", "\u00e9", "\u043a\u043b\u044e\u0447", "\x7f"]


async def test_what_no_scope_may_be_is_refused_where_it_is_declared() -> None:
    """RFC 6749, section 3.3: a refusal names the scope in a header, in quotes."""
    auth = Auth(store=MemoryStore, secret=b"x" * 32, require_verified_email=False)
    async with MemoryDatabase().session() as session:
        for scope in SCOPES:
            require_scope(scope)
            key, _ = await auth.api_keys.create(session, name="n", scopes=[scope])
            assert key.scopes == [scope]
        for scope in NO_SCOPES:
            with pytest.raises(ValueError, match="is no scope"):
                require_scope(scope)
            with pytest.raises(ValueError, match="is no scope"):
                await auth.api_keys.create(session, name="n", scopes=["metrics", scope])


@pytest.mark.parametrize("factory", [require_scope, Roles("user", "admin").require])
async def test_a_guard_whose_call_was_forgotten_lets_nobody_in(factory: Callable[..., Any]) -> None:
    app = FastAPI()

    @app.get("/figures", dependencies=[Depends(factory)])
    async def figures() -> None: ...

    async with client_of(app) as client:
        for path in ("/figures", "/figures?scope=metrics", "/figures?names=admin"):
            assert (await client.get(path)).status_code in {422, 500}
