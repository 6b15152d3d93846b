"""Where the links of account mails lead: a page for people, which sends the link's token when they say so.

Not by the visit itself: programs that look at mails follow links too, and would use the token up.
"""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

__all__ = ["router"]

_PAGE: Final = Path(__file__).parent / "page"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # The token in the address is nobody else's business.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter()


async def mail_link(_: Request) -> FileResponse:
    """The page; what it is for, its address says."""
    return FileResponse(_PAGE / "account.html", headers=_HEADERS)


router.add_route("/auth/verify-email", mail_link, include_in_schema=False)
router.add_route("/auth/reset-password", mail_link, include_in_schema=False)
router.mount("/account-assets", StaticFiles(directory=_PAGE), name="account-assets")
