"""The live page in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from contract.test_jobs import draft_of, finished
from support.browser import visiting
from support.service import PASSWORD, Account, Service

pytestmark = pytest.mark.anyio

SECONDS = 1_000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    # The key is kept beside the database, so a restarted service knows the sessions of before.
    with Service.started(tmp_path, environment="test") as running:
        yield running


def published(account: Account, title: str) -> dict[str, Any]:
    post = draft_of(account, title)
    job_id = account.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    assert finished(account, job_id)["status"] == "succeeded"
    return post


async def test_posts_and_comments_arrive_and_a_restart_loses_nothing(service: Service) -> None:
    author, reader = service.sign_up(), service.sign_up()
    first = published(author, "Before")
    path = f"/posts/{first['id']}/comments"
    author.client.post(path, json={"body": "Old comment"})
    async with visiting() as visit:
        page = visit.page
        page.set_default_timeout(60 * SECONDS)
        expect.set_options(timeout=60 * SECONDS)
        await page.goto(f"{service.url}/live")
        await page.get_by_label("E-mail").fill(reader.email)
        await page.get_by_label("Password").fill("wrong password, wrong password")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_have_text("Wrong e-mail address or password")
        # The browser's own line about the 401.
        visit.errors.clear()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator("#state")).to_have_text("Connected")
        await expect(page.locator("article h2")).to_have_text(["Before"])
        await expect(page.locator("article li")).to_have_text(["Old comment"])

        second = published(author, "<b>Live</b>")
        await expect(page.locator("article h2")).to_have_text(["<b>Live</b>", "Before"])
        author.client.post(path, json={"body": "<img src=x onerror=alert(1)>"})
        newest = page.locator(f'article[data-id="{second["id"]}"]')
        await newest.get_by_label("Comment").fill("From the page")
        await newest.get_by_role("button", name="Send").click()
        await expect(newest.locator("li")).to_have_text(["From the page"])
        oldest = page.locator(f'article[data-id="{first["id"]}"]')
        await expect(oldest.locator("li")).to_have_text(["Old comment", "<img src=x onerror=alert(1)>"])

        service.kill_and_start()
        author.client.post(path, json={"body": "After the restart"})
        await expect(page.locator("#state")).to_have_text("Connected")
        await expect(oldest.locator("li").last).to_have_text("After the restart")
        await expect(oldest.locator("li")).to_have_count(3)
        assert all(url.startswith((service.url, "data:")) for url in visit.requested)
        assert not [error for error in visit.errors if "ERR_CONNECTION" not in error and "WebSocket" not in error]
    for account in (author, reader):
        account.client.close()
