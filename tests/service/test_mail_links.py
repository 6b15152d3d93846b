"""What somebody does who gets a mail: they follow its link, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import expect

from support.browser import visiting
from support.service import PASSWORD, Service

pytestmark = pytest.mark.anyio
NEW = "a completely new password"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("links")
    with Service.started(folder, environment="test", rate_limit="off", login_rate_limit="off") as running:
        yield running


def link_in_mail(service: Service, address: str, number: int) -> str:
    found = re.search(r"http://\S+", service.mail(address, number).get_content())
    assert found is not None
    return found[0]


def log_in(service: Service, address: str, password: str) -> int:
    form = {"username": address, "password": password}
    return httpx2.post(f"{service.url}/auth/login", data=form, timeout=30).status_code


async def test_the_links_of_mails_do_what_the_mails_say(service: Service) -> None:
    address = service.new_address()
    account = {"email": address, "password": PASSWORD}
    assert httpx2.post(f"{service.url}/auth/register", json=account, timeout=30).status_code == 202
    link = link_in_mail(service, address, 1)
    token = link.partition("token=")[2]
    async with visiting() as visit:
        page = visit.page
        await page.goto(link)
        # Nothing has happened yet, and the token is not to be seen any more.
        assert log_in(service, address, PASSWORD) == 401
        assert token not in page.url
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.get_by_role("status")).to_contain_text("confirmed")
        assert log_in(service, address, PASSWORD) == 200
        # Once more, by whoever finds the mail.
        await page.goto(link)
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.get_by_role("alert")).to_contain_text("has been used")
        # The refusal is an answer that the browser remarks on.
        assert [error for error in visit.errors if "422" not in error] == []
        visit.errors.clear()

        forgotten = {"email": address}
        assert httpx2.post(f"{service.url}/auth/forgot-password", json=forgotten, timeout=30).status_code == 202
        await page.goto(link_in_mail(service, address, 2))
        await page.get_by_label("New password").fill("too short")
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("alert")).to_contain_text("at least 15 characters")
        await page.get_by_label("New password").fill(NEW)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("status")).to_contain_text("is set")
        assert [error for error in visit.errors if "422" not in error] == []
        assert all(url.startswith(service.url) for url in visit.requested), visit.requested
    assert log_in(service, address, NEW) == 200
    assert log_in(service, address, PASSWORD) == 401
    # The address with the token was asked for, and is in no log.
    assert token not in service.log


def test_a_visit_alone_uses_nothing_up(service: Service) -> None:
    """Programs that look at mails follow their links."""
    address = service.new_address()
    assert httpx2.post(f"{service.url}/auth/register", json={"email": address, "password": PASSWORD}).status_code == 202
    link = link_in_mail(service, address, 1)
    for method in ("GET", "HEAD"):
        answer = httpx2.request(method, link)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert log_in(service, address, PASSWORD) == 401
    token = service.token_in_mail(address)
    assert httpx2.post(f"{service.url}/auth/verify-email", json={"token": token}).status_code == 204
