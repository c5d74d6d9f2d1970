"""Users, instruments and sessions for the tests of subscriptions and their API."""

import uuid

import pytest


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_user("alice", password="open sesame")


@pytest.fixture
def bob(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_user("bob", password="open sesame")


@pytest.fixture
def admin(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_superuser("root", password="open sesame")


@pytest.fixture
def market(transactional_db):
    """A few instruments."""
    from stocksblitz.market.models import Instrument

    return [
        Instrument.objects.create(symbol=symbol, exchange="24x7", kind="crypto", currency="USD")
        for symbol in ("BTCUSD", "ETHUSD", "M&M")
    ]


@pytest.fixture
def session_id():
    return str(uuid.uuid4())
