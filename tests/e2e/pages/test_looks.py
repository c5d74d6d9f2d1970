"""How the pages look, in a real browser: narrow windows, both themes, what is readable."""

import os
import signal

import pytest
from playwright.sync_api import expect

from tests.e2e.pages.test_dashboard import LIVE, SYMBOL, tab  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.process, pytest.mark.timeout(180)]

CONTRASTS = """
(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const read = (color) => {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
    const style = getComputedStyle(document.documentElement);
    const token = (name) => light(read(style.getPropertyValue(`--${name}`)));
    const lines = Array.from({ length: 8 }, (_, at) => `plot-${at + 1}`);
    const texts = ["text", "text-2", "text-3", "accent", "up", "down", "warn", ...lines];
    const low = [];
    for (const text of texts) for (const ground of ["panel", "raised", "chart-bg"]) {
        const [a, b] = [token(text), token(ground)].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${text} on ${ground}`);
    }
    for (const cell of document.querySelectorAll(".legend-values b:not([hidden])")) {
        const rgb = getComputedStyle(cell).color;
        const [a, b] = [light(read(rgb)), token("chart-bg")].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`legend ${rgb}`);
    }
    return low;
})()
"""
"""Texts of the theme whose contrast is below what WCAG AA asks for."""


@pytest.mark.parametrize("path", ["/", "/portfolio"])
def test_a_phone_shows_one_column_that_nothing_sticks_out_of(tab, context, live_stack, path, complaints):
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(live_stack.url + path)
    page.wait_for_selector(LIVE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator(".stage, .figures").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["width"] > 360
    assert page.evaluate("scrollY") == 0, "what is drawn lower down does not scroll the page"


def test_a_narrow_window_reaches_every_control(tab, complaints):
    page = tab.page
    page.set_viewport_size({"width": 390, "height": 844})
    tab.pick(SYMBOL)
    page.click('[data-timeframe="1d"]')
    expect(page.locator('[data-timeframe="1d"]')).to_have_attribute("aria-checked", "true")
    tab.add("RSI")
    tab.wait_values("RSI_14")
    page.locator(f"#watch-{SYMBOL} .tool").click()
    expect(page.locator(f"#watch-{SYMBOL}")).to_have_count(0)


def test_colours_follow_the_theme_and_are_readable(tab, complaints):
    page = tab.page
    tab.pick(SYMBOL)
    tab.add("SUPERTREND")
    tab.wait_values("SUPERTREND_10_3")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        assert page.evaluate(CONTRASTS) == []


def test_a_server_that_computes_nothing_is_not_shown_as_live(tab, live_stack):
    tab.pick(SYMBOL)
    stale, compute = tab.page.locator("#stale"), live_stack.pids()["compute"]
    expect(stale).to_be_hidden()
    os.kill(compute, signal.SIGSTOP)
    try:
        expect(stale).to_have_text("stale: no compute", timeout=60_000)
    finally:
        os.kill(compute, signal.SIGCONT)
    expect(stale).to_be_hidden(timeout=60_000)
