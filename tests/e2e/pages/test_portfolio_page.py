"""The portfolio page in a real browser: what moves by itself, and what a person does there."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import eventually

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture
def portfolio(live_stack, page: Page, complaints) -> Page:
    page.goto(f"{live_stack.url}/login?next=/portfolio")
    page.fill("input[name=username]", "demo")
    page.fill("input[name=password]", "demo")
    page.click("button[type=submit]")
    page.wait_for_selector('#connection[data-state="live"]')
    eventually(
        lambda: page.reload() and page.locator(".account").count() == 3, timeout=60, what="the demo accounts"
    )
    page.wait_for_selector('#connection[data-state="live"]')
    page.locator(".account", has_text="demo:1").click()
    page.wait_for_selector("[data-position]")
    return page


def amount(text: str) -> float:
    return float(re.sub(r"[^\d.\-]", "", text.replace("−", "-")))


def test_what_a_person_sees_and_does(portfolio: Page, complaints: list[str]) -> None:
    page = portfolio
    result = page.locator("#figure-unrealized_pnl")
    before = result.inner_text()
    eventually(lambda: result.inner_text() != before, what="the result moves")
    expect(page.locator("#simulated")).to_have_text("simulated")
    expect(page.locator("#level")).to_have_text(re.compile(r"^[\d,]+\.\d\d %$"))
    marks = [
        page.locator(f".mark-{name}").evaluate("e => parseFloat(e.style.left)") for name in ("stop", "call")
    ]
    assert 0 < marks[0] < marks[1] < 100
    assert page.locator("#curve canvas").count() > 0

    page.fill("#ticket-symbol", "btcusd")
    page.fill("#ticket-quantity", "0.03")
    page.click("button[value=buy]")
    expect(page.locator("#ticket-hint")).to_contain_text("buy 0.03 BTCUSD at")
    row = page.locator("[data-position]", has_text="0.03").last
    row.locator("input").fill("0.01")
    row.get_by_role("button", name="Close").click()
    expect(page.locator("#ticket-hint")).to_contain_text("BTCUSD closed at")
    left = page.locator("[data-position]").last
    expect(left).to_contain_text("0.02")
    left.get_by_role("button", name="Close").click()
    expect(page.locator("[data-position]", has_text="0.02")).to_have_count(0)

    page.select_option("#ticket-type", "limit")
    page.fill("#ticket-price", "1000")
    page.click("button[value=buy]")
    expect(page.locator("#orders")).to_contain_text("buy limit")
    page.locator("#orders").get_by_role("button", name="Cancel").click()
    expect(page.locator("#orders")).to_contain_text("No pending order")

    page.fill("#ticket-quantity", "100000")
    page.select_option("#ticket-type", "market")
    page.click("button[value=buy]")
    expect(page.locator("#ticket-hint")).to_contain_text("not enough free margin")
    assert [each for each in complaints if "409" not in each] == []
    complaints.clear()  # the browser itself notes that a request was refused


def test_a_price_shock_is_shown_before_it_happens(portfolio: Page) -> None:
    page = portfolio
    equity = amount(page.locator("#figure-equity").inner_text())
    for percent in ("-10", "10"):
        page.locator("#shock").evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", percent
        )
        expect(page.locator("#shock-value")).to_have_text(f"{'+' if percent == '10' else ''}{percent}.0 %")
        eventually(lambda: abs(amount(page.locator("#whatif b").first.inner_text()) - equity) > 100)
    page.locator(".account", has_text="demo:3").click()
    expect(page.locator("#figures")).to_contain_text("10,")


def test_a_page_whose_login_has_ended_says_so_and_leads_back(
    portfolio: Page, live_stack, complaints: list[str]
) -> None:
    expect(portfolio.locator("#curve-zone")).not_to_be_empty()
    other = portfolio.context.new_page()
    other.goto(f"{live_stack.url}/portfolio")
    other.click("form[data-logout] button")
    expect(portfolio.locator("#connection")).to_have_attribute("data-state", "stopped", timeout=20_000)
    portfolio.click("#banner a")
    expect(portfolio).to_have_url(re.compile(r"/login\?next=%2Fportfolio"))
    assert [each for each in complaints if "401" not in each and "403" not in each] == []
    complaints.clear()  # the browser notes a request that was refused between the logout and the word of it
