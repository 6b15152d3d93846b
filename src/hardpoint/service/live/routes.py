"""What a client of the socket needs beside it: a ticket; and a page that shows how such a client looks."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from hardpoint.auth import ws_ticket_router
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

__all__ = ["router"]

_PAGE: Final = Path(__file__).parent / "page"
# No build step, no inline script or style, nothing from elsewhere.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter()
router.include_router(ws_ticket_router())


async def live_page(_: Request) -> FileResponse:
    """The page; it logs in by itself."""
    return FileResponse(_PAGE / "live.html", headers={"Content-Security-Policy": _POLICY})


router.add_route("/live", live_page, include_in_schema=False)
router.mount("/live-assets", StaticFiles(directory=_PAGE), name="live-assets")
