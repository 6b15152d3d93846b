"""Routes that nobody guards are found wherever they are."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, WebSocket

from hardpoint.auth import current_user, require_scope, unguarded_routes


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
