"""The documentation pages: in a real browser, from this server alone, under their policy."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from playwright.async_api import expect
from starlette.middleware import Middleware

from hardpoint.middleware import SecurityHeadersMiddleware
from hardpoint.openapi import docs_router
from support.browser import visiting
from support.service import PASSWORD, Service, run_cli


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.started(tmp_path_factory.mktemp("docs"), rate_limit="off") as running:
        yield running


async def test_swagger_ui_authorises_and_tries_a_route(service: Service) -> None:
    account = service.create("user")
    account.client.close()
    async with visiting() as visit:
        page = visit.page
        await page.goto(f"{service.url}/docs")
        await page.get_by_role("button", name="Authorize").first.click()
        await page.locator("#oauth_username").first.fill(account.email)
        await page.locator("#oauth_password").first.fill(PASSWORD)
        await page.get_by_role("button", name="Apply given OAuth2 credentials").first.click()
        await expect(page.get_by_role("button", name="Remove authorization").first).to_be_visible()
        await page.get_by_role("button", name="Close", exact=True).first.click()
        operation = page.locator("#operations-users-read_own_user")
        await operation.locator(".opblock-summary").click()
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_role("button", name="Execute").click()
        await expect(operation.locator(".live-responses-table")).to_contain_text(account.email)
        assert not visit.errors
        assert all(url.startswith(service.url) for url in visit.requested), visit.requested


async def test_redoc_shows_the_document(service: Service) -> None:
    async with visiting() as visit:
        await visit.page.goto(f"{service.url}/redoc")
        await expect(visit.page.get_by_role("heading", name="Write a post")).to_be_visible()
        assert not visit.errors
        allowed = (service.url, f"blob:{service.url}", "data:")
        assert all(url.startswith(allowed) for url in visit.requested), visit.requested


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_production_shows_no_documentation_unless_asked_to(path: str, tmp_path: Path) -> None:
    settings = {
        "environment": "production",
        "secret_key": "a-secret-of-this-test-with-32-bytes-or-more",
        "database_url": f"sqlite+aiosqlite:///{tmp_path / 'production.db'}",
    }
    assert run_cli("db", "upgrade", cwd=tmp_path, **settings).returncode == 0
    with Service.started(tmp_path, **settings) as service, closing(service.client()) as client:
        assert client.get(path).status_code == 404
    with Service.started(tmp_path, docs="true", **settings) as service, closing(service.client()) as client:
        assert client.get(path).status_code == 200


async def test_the_pages_work_behind_a_prefix_and_keep_their_policy() -> None:
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(SecurityHeadersMiddleware)],
    )
    app.include_router(docs_router(title="<b>&", redoc_path=None))
    transport = httpx2.ASGITransport(app=app, root_path="/api")
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        page = await client.get("/docs")
        assert '"/api/docs-assets/swagger-ui-bundle.js"' in page.text
        assert 'data-openapi-url="/api/openapi.json"' in page.text
        assert "<title>&lt;b&gt;&amp;</title>" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        script = await client.get("/docs-assets/start-swagger-ui.js")
        assert script.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert (await client.get("/redoc")).status_code == 404
        assert (await client.get("/docs-assets/../docs_pages.py")).status_code == 404
