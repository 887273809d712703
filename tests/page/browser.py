"""A real browser for tests, and why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

TIMEOUT = 300_000  # ms; the machine may be busy
SIZE = {"width": 1280, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Chromium, started with ``flags``; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        say = pytest.fail if os.environ.get("LATENTSYNC_BROWSER_REQUIRED") else pytest.skip
        say("no Chromium here: on Debian or Ubuntu, apt-get install chromium")
    with sync_playwright() as playwright:
        # Containers forbid the sandbox; the only pages that are opened are our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", *flags], timeout=TIMEOUT)
        yield browser
        browser.close()


def lasting_context(browser: Browser, **settings: Any) -> BrowserContext:
    """What one visitor after another opens pages in: those after the first have the page's scripts in a cache."""
    context = browser.new_context(viewport=SIZE, **settings)
    context.set_default_timeout(TIMEOUT)
    return context


def leave(page: Page) -> None:
    """Close a page, so that the next one of its context is that of a visitor who was never here."""
    page.evaluate("localStorage.clear()")
    page.close()
