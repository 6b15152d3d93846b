"""The documentation pages: in a real browser, from this server alone, under their policy."""

import re
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.async_api import Page, expect
from starlette.middleware import Middleware

from hardpoint.auth import Auth, CurrentUser, MemoryDatabase, MemoryStore, MemoryUser, auth_router
from hardpoint.db import CursorSigner
from hardpoint.lifespan import Lifespan, Resource
from hardpoint.middleware import SecurityHeadersMiddleware
from hardpoint.openapi import docs_router, install_openapi, unique_route_name
from support.browser import visiting
from support.servers import running_app
from support.service import PASSWORD, Account, Service, run_cli


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.started(tmp_path_factory.mktemp("docs"), rate_limit="off") as running:
        yield running


@pytest.fixture(scope="module")
def admin(service: Service) -> Account:
    account = service.create("admin")
    account.client.close()
    return account


async def log_in_on(page: Page, email: str) -> None:
    """As a reader does: by the name and password in the form behind the Authorize button."""
    await page.get_by_role("button", name="Authorize").first.click()
    await page.locator("#oauth_username").first.fill(email)
    await page.locator("#oauth_password").first.fill(PASSWORD)
    await page.get_by_role("button", name="Apply given OAuth2 credentials").first.click()
    await expect(page.get_by_role("button", name="Remove authorization").first).to_be_visible()
    await page.get_by_role("button", name="Close", exact=True).first.click()


async def give_on(page: Page, scheme: str, value: str) -> None:
    """A token or a key, pasted into the form of a scheme."""
    await page.get_by_role("button", name="Authorize").first.click()
    form = page.locator(".auth-container").filter(has=page.locator("code", has_text=scheme))
    await form.get_by_role("textbox").fill(value)
    await form.get_by_role("button", name="Apply credentials").click()
    await expect(form.get_by_role("button", name="Remove authorization")).to_be_visible()
    await page.get_by_role("button", name="Close", exact=True).first.click()


async def expect_from(page: Page, operation_id: str, text: str) -> None:
    operation = page.locator(f"[id^='operations-'][id$='-{operation_id}']")
    await operation.locator(".opblock-summary").click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()
    await expect(operation.locator(".live-responses-table")).to_contain_text(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_swagger_ui_authorises_and_tries_a_route(service: Service, admin: Account, host: str) -> None:
    """By whatever name the service is reached: the document names one, and a page may ask its own alone."""
    url = service.url.replace("127.0.0.1", host)
    async with visiting() as visit:
        await visit.page.goto(f"{url}/docs")
        await log_in_on(visit.page, admin.email)
        await expect_from(visit.page, "read_own_user", admin.email)
        assert not visit.errors
        assert f"{url}/auth/login" in visit.requested
        assert all(asked.startswith(url) for asked in visit.requested), visit.requested


async def test_swagger_ui_sends_a_token_and_a_key_that_one_has(service: Service, admin: Account) -> None:
    headers = {"Authorization": f"Bearer {admin.access_token}"}
    new = {"name": "prometheus", "scopes": ["metrics"]}
    key = httpx2.post(f"{service.url}/api-keys", json=new, headers=headers, timeout=30).json()["key"]
    async with visiting() as visit:
        await visit.page.goto(f"{service.url}/docs")
        await give_on(visit.page, "AccessToken", admin.access_token)
        await expect_from(visit.page, "read_own_user", admin.email)
        assert not visit.errors
    # Each in a browser of its own: two credentials are none.
    async with visiting() as visit:
        await visit.page.goto(f"{service.url}/docs")
        await give_on(visit.page, "APIKeyHeader", key)
        await expect_from(visit.page, "read_metrics", "hardpoint_http_requests_total")
        assert not visit.errors


async def test_swagger_ui_authorises_behind_a_prefix_of_the_proxys_and_one_of_the_routers() -> None:
    auth = Auth(store=MemoryStore, secret=b"x" * 32, require_verified_email=False)
    database = MemoryDatabase()
    lifespan = Lifespan(
        Resource("database", lambda _: nullcontext(database)),
        Resource.constant("cursor_signer", CursorSigner(b"x" * 32)),
        Resource.constant("auth", auth),
    )
    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=unique_route_name,
    )
    app.include_router(auth_router(), prefix="/v1")
    app.include_router(docs_router(title="Behind a proxy"))

    @app.get("/me")
    async def me(user: CurrentUser[MemoryUser]) -> str:
        return user.email

    install_openapi(app)
    async with database.session() as session:
        await auth.create_user(session, email="ann@example.com", password=PASSWORD, role="user")

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/api"} if scope["type"] == "http" else scope, receive, send)

    async with running_app(behind_a_proxy) as url, visiting() as visit:
        await visit.page.goto(f"{url}/api/docs")
        await log_in_on(visit.page, "ann@example.com")
        await expect_from(visit.page, "me", "ann@example.com")
        assert f"{url}/api/v1/auth/login" in visit.requested
        assert not visit.errors


async def test_redoc_shows_the_document(service: Service) -> None:
    async with visiting() as visit:
        await visit.page.goto(f"{service.url}/redoc")
        await expect(visit.page.get_by_role("heading", name="Write a post")).to_be_visible()
        assert not visit.errors
        allowed = (service.url, f"blob:{service.url}", "data:")
        assert all(url.startswith(allowed) for url in visit.requested), visit.requested


def test_production_shows_no_documentation_unless_asked_to(tmp_path: Path) -> None:
    settings = {
        "environment": "production",
        "secret_key": "a-secret-of-this-test-with-32-bytes-or-more",
        "database_url": f"sqlite+aiosqlite:///{tmp_path / 'production.db'}",
    }
    assert run_cli("db", "upgrade", cwd=tmp_path, **settings).returncode == 0
    paths = ["/docs", "/redoc", "/openapi.json"]
    with Service.started(tmp_path, **settings) as service, closing(service.client()) as client:
        assert [client.get(path).status_code for path in paths] == [404, 404, 404]
    with Service.started(tmp_path, docs="true", **settings) as service, closing(service.client()) as client:
        assert [client.get(path).status_code for path in paths] == [200, 200, 200]


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


@pytest.mark.parametrize("page", ["docs", "redoc"])
@pytest.mark.parametrize("root_path", ["", "/proxy"])
def test_the_pages_find_their_files_behind_a_prefix_of_their_router(page: str, root_path: str) -> None:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(docs_router(title="Things"), prefix="/internal")
    client = TestClient(app, root_path=root_path)
    answer = client.get(f"/internal/{page}")
    files = re.findall(r'(?:src|href)="(/[^"]*)"', answer.text)
    assert files
    assert all(name.startswith(f"{root_path}/internal/docs-assets/") for name in files)
    assert {client.get(name).status_code for name in files} == {200}
    assert f'"{root_path}/openapi.json"' in answer.text
