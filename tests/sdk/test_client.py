"""REST calls of the SDK against a local server: sign-in, histories, and subscriptions until their end."""

import gc
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from stocksblitz_sdk import RSI, Client, Indicator, IndicatorSubscription, StocksBlitzError, subscription

HISTORY = {
    "symbol": "ACME",
    "timeframe": "5min",
    "bars": [[300_000, 1.0, 2.0, 0.5, 1.5, 10], [600_000, 1.5, 2.5, 1.0, 2.0, 20]],
    "indicators": {"RSI_14": [None, 55.5], "MACD_12_26_9": [None, {"MACD": 0.1, "MACDh": 0.0, "MACDs": 0.1}]},
    "complete": True,
}
CCI = {"name": "CCI", "params": [{"name": "length", "default": 14}, {"name": "c", "default": 0.015}]}
CATALOGUE = {"indicators": [CCI]}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body):
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        status, reply = self.server.site.reply(address.path, body, query, self.headers)
        raw = b"" if reply is None else json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


class Site:
    """A server that keeps the requests it received; ``good`` is the only token that it accepts."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.site = self
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.asked, self.signed_in, self.good, self.refreshes = [], 0, "", True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path, body, query, headers):
        if path == "/auth/token":
            if body != {"username": "demo", "password": "right"}:
                return 401, {"code": "not_authenticated", "detail": "wrong password"}
            self.signed_in += 1
            self.good = f"access{self.signed_in}"
            return 200, {"access": self.good, "refresh": "refresh", "session_id": "s"}
        if path == "/auth/token/refresh":
            self.good += "+"
            return (200, {"access": self.good}) if self.refreshes else (401, {"code": "not_authenticated"})
        if headers["Authorization"] not in (f"Bearer {self.good}", "Api-Key key"):
            return 401, {"code": "not_authenticated", "detail": "no"}
        self.asked.append((path, body, query, headers.get("X-Session-ID")))
        if path.endswith("/history"):
            return 200, HISTORY
        if path == "/indicators/catalogue":
            return 200, CATALOGUE
        if path == "/indicators/data/NONE":
            return 404, {"code": "not_subscribed", "detail": "nothing there"}
        if path == "/busy":
            return 503, {"code": "unavailable", "detail": "soon"}
        if path == "/html":
            return 502, "<html>"
        return 200, {"status": "ok"}

    def paths(self):
        return [each[0] for each in self.asked]


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def demo(site):
    return Client(site.url, username="demo", password="right")


def test_the_client_signs_in_once_and_again_when_its_token_expires(site):
    with demo(site) as client:
        client.get("/x")
        client.get("/y")
        assert site.signed_in == 1
        site.good = "another"
        client.get("/z")
        assert (site.signed_in, site.good) == (1, "another+"), "by its refresh token"
        site.good, site.refreshes = "third", False
        client.get("/z")
        assert site.signed_in == 2


def test_threads_share_one_sign_in(site):
    with demo(site) as client:
        threads = [threading.Thread(target=client.get, args=["/x"]) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert site.signed_in == 1
    assert len(site.asked) == 8


def test_a_wrong_password_and_a_fixed_token_are_refused(site):
    with (
        pytest.raises(StocksBlitzError, match="wrong password") as raised,
        Client(site.url, username="demo", password="wrong") as client,
    ):
        client.get("/x")
    assert (raised.value.code, raised.value.status) == ("not_authenticated", 401)
    with pytest.raises(StocksBlitzError), Client(site.url, token="stale") as client:
        client.get("/x")
    with Client(site.url, api_key="key") as client:
        assert client.get("/x") == {"status": "ok"}


@pytest.mark.parametrize("options", [{}, {"username": "u"}, {"token": "t", "api_key": "k"}])
def test_exactly_one_kind_of_credentials_is_accepted(options):
    with pytest.raises(ValueError, match="expected"):
        Client("http://127.0.0.1:1", **options)


@pytest.mark.parametrize(("path", "code", "status"), [("/busy", "unavailable", 503), ("/html", "error", 502)])
def test_errors_say_whether_they_are_retryable(site, path, code, status):
    with demo(site) as client, pytest.raises(StocksBlitzError) as raised:
        client.get(path)
    assert (raised.value.code, raised.value.status, raised.value.retryable) == (code, status, True)


def test_a_history_is_a_data_frame(site):
    with demo(site) as client:
        frame = client.history("ACME", "5min", [RSI(14), "MACD_12_26_9"], limit=2, before=900_000)
    assert list(frame.columns) == [
        "open", "high", "low", "close", "volume", "RSI_14",
        "MACD_12_26_9.MACD", "MACD_12_26_9.MACDh", "MACD_12_26_9.MACDs",
    ]  # fmt: skip
    assert str(frame.index[0]) == "1970-01-01 00:05:00+00:00"
    assert frame["RSI_14"].isna().tolist() == [True, False]
    assert frame["MACD_12_26_9.MACDs"].iloc[-1] == 0.1
    query = {"timeframe": "5min", "limit": "2", "before": "900000", "indicators": "RSI_14,MACD_12_26_9"}
    assert site.asked[-1][:3] == ("/indicators/ACME/history", None, query)


def test_without_pandas_a_history_is_a_list_of_rows(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with demo(site) as client:
        rows = client.history("ACME", "5min", [RSI()])
        with pytest.raises(ImportError):
            client.history("ACME", "5min", as_frame=True)
    assert rows[1]["ts"] == 600_000
    assert (rows[1]["close"], rows[1]["RSI_14"], rows[0]["RSI_14"]) == (2.0, 55.5, None)


def test_the_catalogue_gives_the_order_and_is_fetched_once(site):
    with demo(site) as client:
        assert client.ids(["RSI_14", RSI(9)]) == ["RSI_14", "RSI_9"]
        assert site.asked == []
        assert client.ids([Indicator("CCI", c=0.02), {"name": "CCI", "params": {"length": 20}}]) == [
            "CCI_14_0.02",
            "CCI_20",
        ]
        client.ids([Indicator("CCI")])
        assert site.paths() == ["/indicators/catalogue"]


def test_a_subscription_is_a_session_of_its_own(site):
    with demo(site) as client, IndicatorSubscription(client) as one, client.subscription() as two:
        one.subscribe("ACME", "5min", [{"name": "CCI", "params": {"length": 20}}, "RSI_14"])
        one.get_data("ACME", "5min")
        two.subscribe("ACME", "5min", [RSI(9)])
        assert one.session_id != two.session_id
        body = {
            "symbol": "ACME",
            "timeframe": "5min",
            "indicators": ["CCI_20", "RSI_14"],
            "session_id": one.session_id,
        }
        assert site.asked[1][:2] == ("/indicators/subscribe", body)
        assert site.asked[2] == ("/indicators/data/ACME", None, {"timeframe": "5min"}, one.session_id)
        with pytest.raises(StocksBlitzError, match="not_subscribed"):
            one.get_data("NONE", "5min")


def unsubscribed(site):
    return [body for path, body, *_ in site.asked if path == "/indicators/unsubscribe"]


def test_a_subscription_ends_with_its_block_and_only_once(site):
    with demo(site) as client:
        with client.subscription() as held:
            held.subscribe("ACME", "5min", [RSI()])
            held.subscribe("OTHER", "1min", [RSI()])
            held.subscribe("THIRD", "1min", [RSI(), RSI(9)])
            held.unsubscribe("OTHER", "1min")
            held.unsubscribe("THIRD", "1min", [RSI()])
        held.close()
    assert [(each["symbol"], each.get("indicators")) for each in unsubscribed(site)] == [
        ("OTHER", None), ("THIRD", ["RSI_14"]), ("ACME", None), ("THIRD", None),
    ]  # fmt: skip


def test_a_garbage_collected_subscription_ends(site):
    with demo(site) as client:
        client.subscription().subscribe("ACME", "5min", [RSI()])
        gc.collect()
        assert [each["symbol"] for each in unsubscribed(site)] == ["ACME"]


def test_the_end_of_a_subscription_never_raises(site):
    client = demo(site)
    held = client.subscription()
    held.subscribe("ACME", "5min", [RSI()])
    client.close()
    held.close()


def test_get_data_keeps_a_session_alive(site, monkeypatch):
    with demo(site) as client, client.subscription() as held:
        held.subscribe("ACME", "5min", [RSI()])
        held.get_data("ACME", "5min")
        assert "/indicators/heartbeat" not in site.paths()
        monkeypatch.setattr(subscription, "HEARTBEAT_S", 0.0)
        held.get_data("ACME", "5min")
        body = {
            "session_id": held.session_id,
            "subscriptions": [{"symbol": "ACME", "timeframe": "5min", "indicator_id": "RSI_14"}],
        }
        assert site.asked[-2][:2] == ("/indicators/heartbeat", body)
