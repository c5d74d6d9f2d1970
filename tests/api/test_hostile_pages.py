"""Somebody who means ill at the pages: redirects, names with markup, requests from elsewhere, what browsers may keep."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)
NAME, PASSWORD = "<img src=x onerror=alert(1)>", "pw-of-a-test"


@pytest.fixture
def eve(db, settings):
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher"
    ]  # quick; nothing here is about it
    User.objects.create_user(NAME, password=PASSWORD)
    client = Client()
    assert client.post("/login", {"username": NAME, "password": PASSWORD}).status_code == 302
    return client


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "\t//evil.example",
        "http:///evil.example",
        "///evil.example",
        "https:evil.example",
    ],
)
def test_no_redirect_leads_elsewhere(eve, target):
    who = {"username": NAME, "password": PASSWORD, "next": target}
    for reply in (
        Client().post("/login", who),
        eve.get("/login", {"next": target}),
        eve.post("/logout", who),
    ):
        assert reply.status_code == 302
        assert reply.headers["Location"] in ("/", "/login")


def test_markup_in_names_is_text(eve):
    for path in (
        "/",
        "/portfolio",
        "/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/%3Cscript%3Ealert(1)",
    ):
        content = eve.get(path, headers={"Accept": "text/html"}).content
        assert b"<img src=x" not in content
        assert b"<script>alert" not in content


@pytest.mark.parametrize(
    "path",
    ["/", "/portfolio", "/login", "/admin/login/", "/nothing", "/auth/ws-ticket", "/api/portfolio/accounts"],
)
def test_every_answer_tells_the_browser_what_it_may(eve, path):
    found = eve.get(path).headers
    assert found["X-Content-Type-Options"] == "nosniff"
    assert found["X-Frame-Options"] == "DENY"
    assert found["Referrer-Policy"] == "same-origin"
    assert "no-store" in found["Cache-Control"]
    policy = found["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert re.search(r"script-src 'self';", policy), "no inline script"


def test_cookies_are_not_for_scripts_or_other_sites(eve):
    assert eve.cookies["sessionid"]["httponly"]
    assert {each["samesite"] for each in eve.cookies.values()} == {"Lax"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/auth/logout"),
        ("post", "/auth/ws-ticket"),
        ("post", "/api/portfolio/orders"),
        ("post", "/api/portfolio/positions"),
        ("post", "/api/portfolio/positions/1/close"),
        ("delete", "/api/portfolio/orders/1"),
        ("patch", "/api/portfolio/accounts/x"),
        ("post", "/api/portfolio/accounts/x/deposits"),
        ("post", "/indicators/subscribe"),
        ("post", "/indicators/unsubscribe"),
        ("post", "/indicators/heartbeat"),
        ("post", "/api/market/symbols"),
        ("post", "/logout"),
    ],
)
def test_a_cookie_alone_changes_nothing(eve, method, path):
    elsewhere = Client(enforce_csrf_checks=True)
    elsewhere.cookies = eve.cookies
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        reply = getattr(elsewhere, method)(
            path, "{}", content_type=kind, headers={"Origin": "https://evil.example"}
        )
        assert reply.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/api/market/symbols"),
        ("post", "/api/portfolio/accounts"),
        ("get", "/indicators/subscriptions?all=true"),
    ],
)
def test_what_is_for_staff_is_for_staff(eve, method, path):
    assert getattr(eve, method)(path, content_type="application/json").status_code == 403
    assert eve.get("/admin/").headers["Location"].startswith("/admin/login/")
