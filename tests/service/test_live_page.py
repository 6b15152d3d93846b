"""The live page in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from contract.test_jobs import draft_of, finished
from support.browser import Visit, visiting
from support.network import Link, Network
from support.ports import lasting_port
from support.service import PASSWORD, Account, Service

pytestmark = pytest.mark.anyio

SECONDS = 1_000


@pytest.fixture
def network() -> Iterator[Network]:
    with Network.started() as started:
        yield started


@pytest.fixture
def link(network: Network) -> Link:
    """The browser's way to the service."""
    return network.link("browser", lasting_port())


@pytest.fixture
def service(tmp_path: Path, link: Link) -> Iterator[Service]:
    # The key is kept beside the database, so a restarted service knows the sessions of before.
    url = f"http://127.0.0.1:{link.port}"
    with Service.started(tmp_path, port=link.target, environment="test", public_url=url) as running:
        yield running


def published(account: Account, title: str) -> dict[str, Any]:
    post = draft_of(account, title)
    job_id = account.client.post(f"/posts/{post['id']}/publish").json()["job_id"]
    assert finished(account, job_id)["status"] == "succeeded"
    return post


INLINE = """() => {
    const script = document.createElement('script')
    script.text = 'window.ran = 1'
    document.head.append(script)
}"""


async def open_under_policy(visit: Visit, url: str) -> None:
    """The page, on which no script runs that is not the service's own."""
    answer = await visit.page.goto(url)
    assert answer is not None
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    await visit.page.evaluate(INLINE)
    assert await visit.page.evaluate("window.ran") is None
    assert "Content Security Policy" in visit.errors.pop()


async def test_posts_and_comments_arrive_and_neither_a_cut_nor_a_restart_loses_any(
    service: Service, link: Link
) -> None:
    url = f"http://127.0.0.1:{link.port}"
    author, reader = service.sign_up(), service.sign_up()
    first = published(author, "Before")
    path = f"/posts/{first['id']}/comments"
    author.client.post(path, json={"body": "Old comment"})
    async with visiting() as visit:
        page = visit.page
        page.set_default_timeout(60 * SECONDS)
        expect.set_options(timeout=60 * SECONDS)
        await open_under_policy(visit, f"{url}/live")
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

        link.cut()
        await expect(page.locator("#state")).to_have_text("Reconnecting")
        visit.requested.clear()
        author.client.post(path, json={"body": "While the network was cut"})
        link.heal()
        await expect(page.locator("#state")).to_have_text("Connected")
        await expect(oldest.locator("li").last).to_have_text("While the network was cut")
        # It was recovered, and nothing had to be read again.
        assert {asked.removeprefix(url) for asked in visit.requested} == {"/auth/ws-ticket"}

        service.kill_and_start()
        author.client.post(path, json={"body": "After the restart"})
        await expect(page.locator("#state")).to_have_text("Connected")
        await expect(oldest.locator("li").last).to_have_text("After the restart")
        await expect(oldest.locator("li")).to_have_count(4)
        assert all(asked.startswith((url, "data:")) for asked in visit.requested)
        assert not [error for error in visit.errors if "net::ERR_" not in error and "WebSocket" not in error]
    for account in (author, reader):
        account.client.close()
