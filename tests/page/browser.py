"""A real browser for tests, and why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

TIMEOUT = 120_000  # ms; the machine may be busy
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
