"""Swagger UI and ReDoc from this package's own files: no CDN, so they work offline and under a strict policy."""

from html import escape
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

__all__ = ["docs_router"]

_ASSETS: Final = Path(__file__).parent / "assets"
_ASSETS_PATH: Final = "/docs-assets"
_COMMON_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
)
# Both pages put style elements into the document while they run; nothing but styles is loosened, on these pages alone.
_SWAGGER_POLICY: Final = _COMMON_POLICY + "style-src 'self' 'unsafe-inline'"
# ReDoc searches in a worker that it makes from a blob.
_REDOC_POLICY: Final = _COMMON_POLICY + "style-src 'unsafe-inline'; worker-src blob:"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
{body}
</body>
</html>
"""


def docs_router(
    *,
    title: str,
    openapi_url: str = "/openapi.json",
    swagger_ui_path: str | None = "/docs",
    redoc_path: str | None = "/redoc",
    persist_authorization: bool = True,
) -> APIRouter:
    """The pages, and their scripts and styles under `/docs-assets`, each with a content security policy of its own.

    Make the application with `docs_url=None, redoc_url=None`, whose pages load from a CDN.

    Args:
        title: What the pages are called.
        openapi_url: The document's path, without the prefix of a proxy, which is taken from `root_path`.
        swagger_ui_path: Where Swagger UI is; `None` for nowhere.
        redoc_path: Where ReDoc is; `None` for nowhere.
        persist_authorization: Whether Swagger UI keeps its credentials in the browser when the page is loaded again.
    """
    router = APIRouter(include_in_schema=False)

    async def swagger_ui(request: Request) -> HTMLResponse:
        root = _root(request)
        assets = _assets(request, swagger_ui_path)
        head = f'<link rel="stylesheet" href="{assets}/swagger-ui.css">'
        body = (
            '<div id="swagger-ui"></div>\n'
            f'<script src="{assets}/swagger-ui-bundle.js"></script>\n'
            f'<script src="{assets}/start-swagger-ui.js" data-openapi-url="{root}{escape(openapi_url)}" '
            f'data-root="{root}" data-persist-authorization="{str(persist_authorization).lower()}"></script>'
        )
        return _page(title, head, body, _SWAGGER_POLICY)

    async def redoc(request: Request) -> HTMLResponse:
        root = _root(request)
        assets = _assets(request, redoc_path)
        body = (
            f'<redoc spec-url="{root}{escape(openapi_url)}"></redoc>\n'
            f'<script src="{assets}/redoc.standalone.js"></script>'
        )
        return _page(title, "", body, _REDOC_POLICY)

    if swagger_ui_path is not None:
        router.add_route(swagger_ui_path, swagger_ui, include_in_schema=False)
    if redoc_path is not None:
        router.add_route(redoc_path, redoc, include_in_schema=False)
    router.mount(_ASSETS_PATH, StaticFiles(directory=_ASSETS), name="docs-assets")
    return router


def _root(request: Request) -> str:
    return escape(request.scope.get("root_path", "").rstrip("/"))


def _assets(request: Request, page_path: str | None) -> str:
    # The files stand beside the page, and a router does not know under which prefix it was put.
    prefix = get_route_path(request.scope).removesuffix(page_path or "")
    return f"{_root(request)}{escape(prefix)}{_ASSETS_PATH}"


def _page(title: str, head: str, body: str, policy: str) -> HTMLResponse:
    page = _PAGE.format(title=escape(title), head=head, body=body)
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
