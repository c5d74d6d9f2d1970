"""What has expired is removed by one command, and by one worker at a time."""

import asyncio
import threading
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from portfolio.models import IdempotencyKey
from stocksblitz.identity.models import Login
from stocksblitz.workers import clean_up
from tests.conftest import aeventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old():
    return timezone.now() - timedelta(days=60)


@pytest.fixture
def alice():
    return User.objects.create(username="alice")


def browser_session(key, until):
    return Session.objects.create(session_key=key, session_data="", expire_date=until)


def test_expired_browser_sessions_go(old, capsys):
    browser_session("old", old)
    browser_session("new", timezone.now() + timedelta(days=1))
    call_command("clean_up")
    assert list(Session.objects.values_list("session_key", flat=True)) == ["new"]
    assert "browser sessions: 1 removed" in capsys.readouterr().out


def test_logins_go_that_nothing_can_use_any_more(old, alice):
    browser_session("alive", timezone.now() + timedelta(days=1))
    browser_session("expired", old)
    cases = {
        "young token": ({}, False),
        "old token": ({"created_at": old}, True),
        "revoked": ({"revoked_at": old}, True),
        "just revoked": ({"revoked_at": timezone.now()}, False),
        "old cookie of a session that lives": ({"created_at": old, "session_key": "alive"}, False),
        "old cookie of a session that expired": ({"created_at": old, "session_key": "expired"}, True),
        "old cookie without its session": ({"created_at": old, "session_key": "gone"}, True),
        "young cookie": ({"session_key": "not saved yet"}, False),
    }
    logins = {name: Login.objects.create(user=alice) for name in cases}
    for name, (changes, _) in cases.items():
        Login.objects.filter(pk=logins[name].pk).update(**changes)
    call_command("clean_up")
    gone = {name: not Login.objects.filter(pk=logins[name].pk).exists() for name in cases}
    assert gone == {name: expected for name, (_, expected) in cases.items()}


def test_old_sign_in_attempts_and_idempotency_keys_go(old, alice):
    for name in ("old", "new"):
        AccessAttempt.objects.create(username=name, ip_address="10.0.0.1", failures_since_start=1)
        IdempotencyKey.objects.create(user=alice, key=name, digest="x", status=200, answer={})
    AccessAttempt.objects.filter(username="old").update(attempt_time=old)
    IdempotencyKey.objects.filter(key="old").update(created_at=old)
    call_command("clean_up")
    assert list(AccessAttempt.objects.values_list("username", flat=True)) == ["new"]
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]


@pytest.fixture
def runs(monkeypatch):
    found = []
    monkeypatch.setattr(clean_up, "tasks", [clean_up.Task("counted", lambda: found.append(1) or 0)])
    return found


def test_of_many_workers_one_cleans_up(runs):
    threads = [threading.Thread(target=clean_up.run_due) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [1]


def test_a_task_that_fails_is_due_again_and_stops_no_other(monkeypatch, runs):
    attempts = []

    def fails():
        attempts.append(1)
        raise OperationalError("the database is away")

    monkeypatch.setattr(clean_up, "tasks", [clean_up.Task("failing", fails), *clean_up.tasks])
    clean_up.run_due()
    clean_up.run_due()
    assert (len(attempts), runs) == (2, [1])


async def test_a_worker_cleans_up_until_its_stop(runs):
    stop = asyncio.Event()
    task = asyncio.create_task(clean_up.run_until(stop))
    await aeventually(lambda: runs == [1])
    stop.set()
    await asyncio.wait_for(task, 5)
