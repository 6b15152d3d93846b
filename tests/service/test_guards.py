"""Every route of the service is guarded or on the list of those that are meant to be public."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, WebSocket

from hardpoint.auth import current_user, require_scope, unguarded_routes
from hardpoint.service import create_app
from hardpoint.settings import Settings

PUBLIC = {
    "GET /.well-known/jwks.json",
    "GET /asyncapi.json",
    "GET /docs",
    # Asks the hub's authenticator who it is, as the socket does.
    "GET /events",
    "GET /health/live",
    "GET /health/ready",
    # Logs in by itself.
    "GET /live",
    "GET /openapi.json",
    "GET /posts",
    "GET /posts/{post_id}",
    "GET /posts/{post_id}/comments",
    "GET /redoc",
    "MOUNT /docs-assets",
    "MOUNT /live-assets",
    "POST /auth/forgot-password",
    "POST /auth/login",
    # Takes a refresh token as well as an access token, and refuses when there is neither.
    "POST /auth/logout",
    "POST /auth/refresh",
    "POST /auth/register",
    "POST /auth/reset-password",
    "POST /auth/verify-email",
    "WEBSOCKET /ws",
}


def test_every_route_is_guarded_or_declared_public(tmp_path: Path) -> None:
    app = create_app(Settings(_env_file=None, data_dir=tmp_path))
    assert unguarded_routes(app) == PUBLIC


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
