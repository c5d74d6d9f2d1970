"""Fixtures with a real Chromium; conftest.py imports them."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import PATIENCE_S

VIEW = {"width": 1440, "height": 900}
expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, else Playwright's own. Of one module, so that tests with event loops can follow."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport=VIEW, color_scheme="dark")  # type: ignore[arg-type]  # a plain dict will do
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def complaints(context: BrowserContext) -> Iterator[list[str]]:
    """Errors that pages of the context print or throw; there must be none at the end."""
    heard: list[str] = []
    context.on(
        "console", lambda m: heard.append(f"{m.type}: {m.text}") if m.type in {"error", "warning"} else None
    )
    context.on("weberror", lambda error: heard.append(f"thrown: {error.error}"))
    yield heard
    assert heard == []
