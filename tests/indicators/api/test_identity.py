import asyncio
import base64
import time
import uuid

import jwt
import orjson
import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from indicators.engine.spec import parse_request
from indicators.models import Session
from indicators.subscriptions import service as subscriptions
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.delivery import auth
from stocksblitz.delivery.control import decode_control, group
from stocksblitz.identity import tickets, tokens
from stocksblitz.identity.models import ApiKey, Login
from tests.conftest import PATIENCE_S, aeventually
from tests.indicators.api.test_api import Api, pair, refused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(alice, market):
    return Api(alice)


def post(path, body, **headers):
    return Client().post(path, orjson.dumps(body), content_type="application/json", headers=headers)


def sign_in(name="alice", password="open sesame"):
    return post("/auth/token", {"username": name, "password": password})


def test_signing_in(alice):
    body = sign_in().json()
    assert set(body) == {"access", "refresh", "session_id"}
    claims = tokens.read_access(body["access"])
    assert claims.session_id == body["session_id"]
    assert claims.user_id == alice.pk
    again = post("/auth/token/refresh", {"refresh": body["refresh"]}).json()
    assert tokens.read_access(again["access"]).session_id == body["session_id"]
    refused(sign_in(password="wrong"), 401, "not_authenticated")
    refused(sign_in(name="nobody"), 401, "not_authenticated")
    refused(post("/auth/token/refresh", {"refresh": body["access"]}), 401, "not_authenticated")
    refused(post("/auth/token", {"username": "alice"}), 400, "invalid_message")
    refused(post("/auth/token", {"username": "alice", "password": "x", "otp": 1}), 400, "invalid_message")


def test_guessing_passwords_is_stopped(alice, settings):
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(3):
        sign_in(password="wrong")
    refused(sign_in(), 429, "rate_limited")


def forged(claims, key, algorithm="HS256"):
    return jwt.encode(claims, key, algorithm=algorithm)


def test_only_our_own_tokens_count(alice, api):
    login = Login.objects.get()
    good = {
        "sub": str(alice.pk),
        "sid": str(uuid.uuid4()),
        "lid": str(login.pk),
        "token_type": "access",
        "jti": "1",
        "iat": int(time.time()),
        "exp": int(time.time()) + 60,
        "iss": "stocksblitz",
        "aud": "stocksblitz",
    }
    key = django_settings.SECRET_KEY
    assert tokens.read_access(forged(good, key)).user_id == alice.pk
    unsigned = ".".join(
        [
            base64.urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=")
            for part in ({"alg": "none"}, good)
        ]
        + [""]
    )
    wrong = {
        "none": unsigned,
        "another key": forged(good, "x" * 40),
        "another algorithm": forged(good, key, "HS384"),
        "audience": forged({**good, "aud": "others"}, key),
        "issuer": forged({**good, "iss": "others"}, key),
        "expired": forged({**good, "exp": int(time.time()) - 1}, key),
        "refresh": forged({**good, "token_type": "refresh"}, key),
        "no login": forged({k: v for k, v in good.items() if k != "lid"}, key),
        "login": forged({**good, "lid": str(uuid.uuid4())}, key),
        "user": forged({**good, "sub": str(alice.pk + 1)}, key),
        "session": forged({**good, "sid": "x"}, key),
        "list": forged({**good, "sub": [1]}, key),
        "text": "abc",
        "empty": "",
    }
    for name, token in wrong.items():
        reply = Client().get("/indicators/catalogue", headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 401, name


def sessions():
    return Session.objects.filter(ended_at=None).count()


def test_logout_of_one_session(api):
    other = str(uuid.uuid4())
    api.post("/indicators/subscribe", pair("RSI_14"))
    api.post("/indicators/subscribe", pair("RSI_14"), x_session_id=other)
    assert api.post("/auth/logout", {"session_id": other}).status_code == 204
    assert sessions() == 1
    assert api.get("/indicators/subscriptions").json()["subscriptions"]
    assert api.post("/auth/logout", {"session_id": other}).status_code == 204
    refused(api.post("/auth/logout", {"session_id": "x"}), 400, "invalid_parameter")


def test_logout_of_a_login_leaves_other_logins(api, alice, redis, keys):
    second = Api(alice)
    api.post("/indicators/subscribe", pair("RSI_14"))
    second.post("/indicators/subscribe", pair("EMA_9"))
    assert api.post("/auth/logout").status_code == 204
    refused(api.get("/indicators/catalogue"), 401, "not_authenticated")
    refused(post("/auth/token/refresh", {"refresh": api.refresh}), 401, "not_authenticated")
    assert second.get("/indicators/catalogue").status_code == 200
    assert redis.smembers(keys.wanted) == {b"BTCUSD|1min|EMA_9"}


def test_a_request_that_was_let_in_before_the_logout_begins_nothing_after_it(api, alice, session_id):
    login = Login.objects.get()
    api.post("/auth/logout")
    with pytest.raises(StocksBlitzError) as refusal:
        subscriptions.subscribe_sync(
            user_id=alice.pk,
            session_id=session_id,
            symbol="BTCUSD",
            timeframe="1min",
            specs=parse_request(["RSI_14"]),
            login_id=login.pk,
        )
    assert refusal.value.code == "session_ended"
    assert sessions() == 0


def browser(user, password="open sesame"):
    client = Client(enforce_csrf_checks=True)
    client.get("/login")
    form = {
        "username": user.username,
        "password": password,
        "csrfmiddlewaretoken": client.cookies["csrftoken"].value,
    }
    assert client.post("/login", form).status_code == 302
    return client


def test_a_cookie_needs_csrf_and_ends_its_own_sessions(alice, market):
    client, other = browser(alice), browser(alice)
    refused(
        client.post("/indicators/subscribe", orjson.dumps(pair("RSI_14")), "application/json"),
        403,
        "forbidden",
    )
    for each in (client, other):
        token = each.cookies["csrftoken"].value
        reply = each.post(
            "/indicators/subscribe",
            orjson.dumps(pair("RSI_14")),
            "application/json",
            headers={"x-csrftoken": token, "referer": "http://testserver/"},
        )
        assert reply.status_code == 200, reply.json()
    assert sessions() == 2
    form = {"csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    assert client.post("/logout", form).status_code == 302
    assert sessions() == 1
    assert other.get("/indicators/subscriptions").json()["subscriptions"]


@pytest.mark.parametrize("how", ["password", "deactivated"])
def test_lost_access_ends_everything_at_once(api, alice, bob, how, redis, keys):
    api.post("/indicators/subscribe", pair("RSI_14"))
    Api(bob).post("/indicators/subscribe", pair("EMA_9"))
    user = User.objects.get(pk=alice.pk)
    if how == "password":
        user.set_password("another one")
    else:
        user.is_active = False
    user.save()
    refused(api.get("/indicators/catalogue"), 401, "not_authenticated")
    assert sessions() == 1
    assert redis.smembers(keys.wanted) == {b"BTCUSD|1min|EMA_9"}


def test_other_changes_of_a_user_end_nothing(api, alice):
    api.post("/indicators/subscribe", pair("RSI_14"))
    user = User.objects.get(pk=alice.pk)
    user.first_name = "Alice"
    user.save()
    user.password = "md5$renewed$hash"
    user.save(update_fields=["password"])  # as Django does when it renews a hash at sign-in
    assert sessions() == 1
    assert api.get("/indicators/catalogue").status_code == 200


@pytest.fixture
async def control_messages(aredis, settings):
    """Yield a function that waits for so many control messages."""
    layer = get_channel_layer()
    channel = await layer.new_channel("test")
    await layer.group_add(group(), channel)
    name = f"{settings.CHANNEL_LAYERS['default']['CONFIG']['prefix']}__group__{group()}"

    async def subscribed():
        return (await aredis.pubsub_numsub(name))[0][1]

    await aeventually(subscribed)

    async def read(count):
        async with asyncio.timeout(PATIENCE_S):
            return [decode_control((await layer.receive(channel))["message"]) for _ in range(count)]

    yield read
    await layer.flush()


async def test_logout_closes_the_socket_wherever_it_is(api, alice, control_messages):
    who = {"user_id": alice.pk, "session_id": api.session_id}
    login = await Login.objects.aget()
    await subscriptions.open_session(**who, login_id=login.pk, ws_conn_id="a")
    await sync_to_async(api.post, thread_sensitive=False)("/auth/logout")
    messages = await control_messages(2)
    assert {message.action for message in messages} == {"close"}
    assert {message.code for message in messages} == {4508}
    assert {(message.user_id, message.login_id) for message in messages} >= {(alice.pk, str(login.pk))}
    assert f"{alice.pk}:{api.session_id}" in {message.session_key for message in messages}


async def test_admin_actions_reach_the_socket(api, admin, alice, control_messages):
    await sync_to_async(api.post, thread_sensitive=False)("/indicators/subscribe", pair("RSI_14", "EMA_9"))

    def act():
        client = Client()
        client.force_login(admin)
        row = Session.objects.get().subscriptions.get(indicator="RSI_14")
        page = client.get("/admin/indicators/subscription/").content.decode()
        assert "this computation serves 1 session" in page
        assert (
            api.session_id
            in client.get("/admin/indicators/session/?q=alice&state=open&age=1").content.decode()
        )
        action = {"action": "drop_subscription", "_selected_action": row.pk}
        assert client.post("/admin/indicators/subscription/", action).status_code == 302
        assert [
            each["indicators"] for each in api.get("/indicators/subscriptions").json()["subscriptions"]
        ] == [["EMA_9"]]
        action = {"action": "end_session", "_selected_action": Session.objects.get().pk}
        assert client.post("/admin/indicators/session/", action).status_code == 302
        assert sessions() == 0
        for page in (
            "identity/login/",
            "identity/apikey/",
            "identity/apikey/add/",
            f"indicators/session/{row.session_id}/change/",
        ):
            assert client.get(f"/admin/{page}").status_code == 200, page

    await sync_to_async(act, thread_sensitive=False)()
    assert [message.action for message in await control_messages(2)] == ["resync", "close"]


# --- sockets ----------------------------------------------------------------------------------------------------------


def scope(query="", host="testserver:8000", scheme="ws", **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "websocket",
        "scheme": scheme,
        "query_string": query.encode(),
        "headers": [(b"host", host.encode()), *pairs],
    }


async def denied(given, code="not_authenticated"):
    with pytest.raises(StocksBlitzError) as refusal:
        await auth.authenticate(given)
    assert refusal.value.code == code


async def test_a_ticket_opens_one_socket(api, alice, redis, settings):
    reply = await sync_to_async(api.post, thread_sensitive=False)("/auth/ws-ticket")
    body = reply.json()
    assert body["expires_in"] == settings.WS_TICKET_TTL
    found = await auth.authenticate(scope(f"ticket={body['ticket']}"))
    assert (found.user_id, found.username, found.via) == (alice.pk, "alice", "ticket")
    assert found.expires_at
    await denied(scope(f"ticket={body['ticket']}"))
    settings.WS_TICKET_TTL = 1
    late = tickets.issue(tickets.Ticket(alice.pk, None, None))
    await asyncio.sleep(1.1)
    await denied(scope(f"ticket={late}"))
    for wrong in ("", "x", "*", "%0a" * 20):
        await denied(scope(f"ticket={wrong}&x=1"))


async def test_a_ticket_of_an_ended_login_opens_nothing(api):
    reply = await sync_to_async(api.post, thread_sensitive=False)("/auth/ws-ticket")
    await sync_to_async(api.post, thread_sensitive=False)("/auth/logout")
    await denied(scope(f"ticket={reply.json()['ticket']}"))


async def test_tokens_open_sockets(api, alice):
    ways = [
        scope(f"token={api.access}"),
        scope(sec_websocket_protocol=f"bearer, {api.access}"),
        scope(authorization=f"Bearer {api.access}"),
    ]
    for way in ways:
        found = await auth.authenticate(way)
        assert (found.user_id, found.session_id) == (alice.pk, api.session_id)
    assert (await auth.authenticate_token(api.access)).login_id == found.login_id
    _, key = await sync_to_async(ApiKey.objects.create_key)(name="bot", user=alice)
    assert (await auth.authenticate(scope(authorization=f"Api-Key {key}"))).via == "key"
    await denied(scope())
    await denied(scope("token=x"))
    await denied(scope(f"token={api.refresh}"))


async def test_a_cookie_opens_a_socket_only_from_our_own_pages(alice, settings):
    client = await sync_to_async(browser, thread_sensitive=False)(alice)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    settings.ALLOWED_ORIGINS = ["https://charts.example"]
    for origin in ("http://testserver:8000", "https://charts.example", "https://CHARTS.example:443"):
        found = await auth.authenticate(scope(cookie=cookie, origin=origin))
        assert (found.user_id, found.via) == (alice.pk, "cookie")
        assert found.login_id
    await denied(scope(cookie=cookie))
    await denied(scope(cookie="sessionid=wrong", origin="http://testserver:8000"))
    await denied(scope(cookie="sessionid=wrong; =;;", origin="http://testserver:8000"))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://testserver",
        "http://testserver:8001",
        "https://testserver:8000",
        "http://sub.testserver:8000",
        "http://testserver:8000.evil.example",
        "http://testserver:8000@evil.example",
        "http://charts.example",
        "https://charts.example:8443",
        "http://",
        "http://[",
        "file://x",
    ],
)
async def test_foreign_origins(api, origin, settings):
    settings.ALLOWED_ORIGINS = ["https://charts.example"]
    await denied(scope(f"token={api.access}", origin=origin), "forbidden")


async def test_a_rebound_name_is_not_our_own(api, settings):
    settings.ALLOWED_ORIGINS = []
    await denied(
        scope(f"token={api.access}", host="evil.example:8000", origin="http://evil.example:8000"), "forbidden"
    )


def test_development_users(transactional_db, settings):
    settings.DEBUG = True
    call_command("seed_demo")
    User.objects.filter(username="demo").update(first_name="kept")
    call_command("seed_demo")
    assert User.objects.get(username="demo").first_name == "kept"
    assert sign_in("demo", "demo").status_code == 200
    assert User.objects.get(username="admin").is_superuser
    settings.DEBUG = False
    with pytest.raises(CommandError):
        call_command("seed_demo")
