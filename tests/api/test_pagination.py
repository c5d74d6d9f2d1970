"""Pages of lists: what ``limit`` and ``offset`` take, on every list that there is."""

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tests.api.test_problems import problem

pytestmark = pytest.mark.django_db(transaction=True)
LISTS = ["accounts", "positions", "orders", "fills"]


@pytest.fixture
def client():
    client = APIClient()
    client.force_authenticate(User.objects.create(username="alice"))
    return client


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=abc",
        "limit=501",
        f"limit={2**63}",
        "limit=1e2",
        "offset=-1",
        "offset=abc",
    ]
    + [f"offset={number}" for number in (2**63, 10**19, 10**400)],
    ids=lambda text: text[:24],
)
def test_a_page_that_cannot_be_is_refused(client, path, query):
    problem(client.get(f"/api/portfolio/{path}?{query}"), 400, "invalid_parameter")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query", ["", "limit=1", "limit=500", "offset=0", "offset=1000000", "limit=&offset="]
)
def test_a_page_that_can_be_is_given(client, path, query):
    assert client.get(f"/api/portfolio/{path}?{query}").status_code == 200
