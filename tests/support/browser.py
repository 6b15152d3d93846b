"""A real headless Chromium: Debian's, driven from the test."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, async_playwright


def chromium_path() -> str:
    """Where Chromium is; without it the test is skipped, in CI it fails."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; .ci/run installs it")
        pytest.skip("chromium is not installed")
    return path


class Visit:
    """A page, and everything that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))


@asynccontextmanager
async def visiting() -> AsyncIterator[Visit]:
    """A new page in a browser of its own."""
    path = chromium_path()
    async with async_playwright() as playwright:
        # CI runs as root, where Chromium has no sandbox.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield Visit(await browser.new_page())
        finally:
            await browser.close()
