"""The browser client against a scripted server: sessions, reconnecting, resuming, accounting."""

import re
import time

import pytest
from playwright.sync_api import BrowserContext, WebSocketRoute

from tests.e2e.scripted_server import (
    MINUTE,
    ORIGIN,
    T0,
    ScriptedServer,
    events,
    heard,
    open_client,
    outcome,
    subscribe,
    until,
    update,
)

pytestmark = pytest.mark.browser


@pytest.fixture
def server(context: BrowserContext) -> ScriptedServer:
    return ScriptedServer(context)


def test_it_opens_with_a_ticket_against_the_cookie(page, server):
    open_client(page)
    session = page.evaluate("client.sessionId")
    assert server.tickets[0]["x-csrftoken"] == "c5rf"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", session)
    assert server.urls == [f"ws://localhost:9999/ws/indicators?session_id={session}&ticket=t1"]
    assert [state["state"] for state in events(page, "state")] == ["connecting", "live"]


def test_a_token_takes_the_place_of_the_ticket(page, server):
    open_client(page, '{token: async () => "j.w.t", sessionId: "given"}')
    assert server.tickets == []
    assert server.urls == ["ws://localhost:9999/ws/indicators?session_id=given&token=j.w.t"]


def test_a_renewable_token_is_renewed_before_it_expires(page, server):
    server.connected["expires_at"] = "2020-01-01T00:00:00Z"
    open_client(page, '{token: () => "fresh"}')
    heard(page, server, "authenticate")
    assert server.sent("authenticate")[0]["token"] == "fresh"


def test_subscribe_resolves_with_the_snapshot_and_updates_follow(page, server):
    open_client(page)
    snapshot = subscribe(page)
    assert snapshot["history"]["bars"][0][0] == T0 - MINUTE
    assert (snapshot["requested"], snapshot["resumed"]) == (True, False)
    server.tell(
        update(11, 0, indicators={"RSI_14": {"ts": T0, "value": 55.5, "timeframe": "1min", "ready": True}})
    )
    until(page, "events.some(([name]) => name === 'update')")
    assert events(page, "update")[0]["indicators"]["RSI_14"]["value"] == 55.5
    assert page.evaluate("client.list()") == [{"symbol": "X"}]


def test_a_refusal_rejects_and_nothing_is_kept(page, server):
    refusal = {
        "type": "error",
        "code": "unknown_indicator",
        "message": "no such indicator",
        "retryable": False,
    }
    server.answers = lambda message: [{**refusal, "id": message["id"]}]
    open_client(page)
    assert outcome(page, 'client.subscribe("X", "1min", ["NOPE"])') == {
        "code": "unknown_indicator", "message": "no such indicator", "retryable": False,
    }  # fmt: skip
    server.heard.clear()
    server.sockets[-1].close(code=4000, reason="")
    until(page, "events.filter(([name, s]) => name === 'state' && s.state === 'live').length === 2")
    assert server.sent("subscribe") == []


def test_an_error_without_an_id_is_an_event(page, server):
    open_client(page)
    server.tell(
        {"type": "error", "id": None, "code": "rate_limited", "message": "slow down", "retryable": True}
    )
    until(page, "events.some(([name]) => name === 'error')")
    assert events(page, "error") == [{"code": "rate_limited", "message": "slow down", "retryable": True}]


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 4000, 4008, 4029])
def test_it_comes_back_and_asks_for_what_closed_meanwhile(page, server, code):
    open_client(page)
    subscribe(page)
    server.tell(update(11, 0, closed=True))
    server.tell(update(12, 1))
    until(page, "client.stats.frames === 2")
    server.heard.clear()
    server.sockets[-1].close(code=code, reason="")
    until(page, "events.some(([name, s]) => name === 'snapshot' && s.resumed)")
    again = server.sent("subscribe")[0]
    assert (again["indicators"], again["since_bar"]) == (["RSI_14"], T0)
    assert "history" not in again
    waiting = next(state for state in events(page, "state") if state["state"] == "reconnecting")
    assert waiting["code"] == code
    assert 250 <= waiting["retryInMs"] <= 500
    assert len(server.tickets) == 2, "a ticket is good for one socket"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4501, "not authenticated"),
        (4503, "forbidden"),
        (4508, "session ended"),
        (4509, "too many connections"),
        (4510, "replaced by another connection of this session"),
        (4513, "message too large"),
        (4777, "something new"),
    ],
)
def test_it_stays_away_when_it_is_told_to(page, server, code, reason):
    open_client(page)
    subscribe(page)
    server.sockets[-1].close(code=code, reason="something new")
    until(page, "client.state.state === 'stopped'")
    assert page.evaluate("[client.state.code, client.state.reason]") == [code, reason]
    page.wait_for_timeout(700)
    assert len(server.sockets) == 1
    assert outcome(page, 'client.subscribe("X", "1min", [])')["code"] == "stopped"


def test_a_restart_hint_spreads_the_return(page, server):
    open_client(page)
    page.evaluate("Math.random = () => 0.5")
    server.sockets[-1].close(code=1012, reason="restart jitter_ms=40")
    until(page, "client.state.state === 'live' && client.stats.reconnects === 1")
    waiting = next(state for state in events(page, "state") if state["state"] == "reconnecting")
    assert waiting["retryInMs"] == 20


def test_pauses_double_to_half_a_minute_and_half_of_each_is_random(page, server):
    page.goto(f"{ORIGIN}/")
    delays = page.evaluate(
        """async () => { const { backoff } = await import("/static/js/client/close_codes.js");
        return [0, 1, 2, 5, 6, 9, 5000].map((n) => [backoff(n, () => 0), backoff(n, () => 1)]); }"""
    )
    assert delays == [
        [250, 500], [500, 1000], [1000, 2000], [8000, 16000], [15000, 30000], [15000, 30000], [15000, 30000],
    ]  # fmt: skip


def test_a_server_that_is_away_is_tried_again_and_a_refused_login_is_not(page, server):
    server.ticket_status = 503
    open_client(page, connect=False)
    page.evaluate("void client.connect().catch(() => {})")
    until(page, "client.state.state === 'reconnecting'")
    server.ticket_status = 403
    until(page, "client.state.state === 'stopped'")
    assert page.evaluate("client.state.code") == 4501


def test_what_was_asked_while_away_is_asked_on_return(page, server):
    open_client(page)
    page.evaluate("""void (window.late = new Promise((resolve) => client.on("state", ({ state }) => {
        if (state === "reconnecting") resolve(client.subscribe("X", "1min", ["EMA_9"]));
    })))""")
    server.sockets[-1].close(code=4000, reason="")
    assert page.evaluate("late")["symbol"] == "X"
    assert server.sent("subscribe")[0]["indicators"] == ["EMA_9"]


def test_a_subscribe_that_the_socket_lost_is_sent_again(page, server):
    server.answers = lambda message: []
    open_client(page)
    page.evaluate("void (window.late = client.subscribe('X', '1min', ['RSI_14']))")
    heard(page, server, "subscribe")
    assert len(server.sent("subscribe")) == 1
    server.answers = server.answer
    server.sockets[-1].close(code=1006, reason="")
    assert page.evaluate("late")["symbol"] == "X"
    assert len(server.sent("subscribe")) == 2


def test_unsubscribed_streams_do_not_come_back(page, server):
    open_client(page)
    subscribe(page, symbol="X")
    subscribe(page, symbol="Y")
    subscribe(page, '["RSI_14", "EMA_9"]', symbol="Z")
    page.evaluate("""Promise.all([client.unsubscribe("X", "1min"), client.unsubscribe("Y", "1min", ["RSI_14"]),
                                  client.unsubscribe("Z", "1min", ["EMA_9"])])""")
    server.heard.clear()
    server.sockets[-1].close(code=4000, reason="")
    until(page, "events.some(([name, s]) => name === 'snapshot' && s.resumed)")
    assert [(one["symbol"], one["indicators"]) for one in server.sent("subscribe")] == [("Z", ["RSI_14"])]


def test_what_an_earlier_page_left_behind_is_dropped(page, server):
    server.connected["retained"] = [{"symbol": "OLD", "timeframe": "5min", "indicators": ["RSI_14"]}]
    open_client(page)
    heard(page, server, "unsubscribe")
    assert server.sent("unsubscribe") == [{"type": "unsubscribe", "symbol": "OLD", "timeframe": "5min"}]


def test_missing_frames_are_noticed_counted_and_fetched(page, server):
    open_client(page)
    subscribe(page)
    server.tell(update(11, 0, closed=True))
    server.heard.clear()
    server.tell(update(15, 1))
    until(page, "events.some(([name, s]) => name === 'snapshot' && s.resumed)")
    assert events(page, "gap") == [{"symbol": "X", "timeframe": "1min", "expected": 12, "got": 15}]
    assert page.evaluate("client.stats.gaps") == 3
    assert server.sent("subscribe")[0]["since_bar"] == T0


def test_frames_that_lagged_named_are_no_gap(page, server):
    open_client(page)
    subscribe(page)
    server.tell({"type": "lagged", "symbol": "X", "timeframe": "1min", "from_seq": 11, "to_seq": 14})
    server.tell(update(15, 0))
    until(page, "client.stats.frames === 1")
    assert (page.evaluate("client.stats.lagged"), page.evaluate("client.stats.gaps")) == (4, 0)
    assert len(events(page, "lagged")) == 1


def test_frames_come_once_and_a_new_epoch_counts_anew(page, server):
    open_client(page)
    subscribe(page)
    for seq in (11, 11, 9):
        server.tell(update(seq, 0))
    server.tell(
        {
            **update(3, 1, epoch="b"),
            "type": "snapshot",
            "history": {"bars": [], "indicators": {}, "complete": True},
        }
    )
    server.tell(update(4, 1, epoch="b"))
    until(page, "client.stats.frames === 2")
    assert page.evaluate("[client.stats.duplicates, client.stats.gaps]") == [2, 0]
    assert [(one["requested"], one["resumed"]) for one in events(page, "snapshot")] == [
        (True, False),
        (False, False),
    ]


def test_streams_that_nobody_asked_for_are_ignored(page, server):
    open_client(page)
    subscribe(page)
    server.tell({**update(1, 0), "symbol": "OTHER"})
    server.tell({"type": "something_new", "whatever": 1})
    server.tell(update(11, 0))
    until(page, "client.stats.frames === 1")
    assert [one["symbol"] for one in events(page, "update")] == ["X"]


def test_it_beats_as_often_as_the_server_says(page, server):
    server.connected["heartbeat_ms"] = 60
    began = time.monotonic()
    open_client(page)
    heard(page, server, "heartbeat", 5)
    assert len(server.sent("heartbeat")) <= (time.monotonic() - began) / 0.06


def test_a_silent_connection_is_given_up(page, server):
    page.clock.install()
    server.connected["heartbeat_ms"] = 30_000
    server.answers = lambda message: []
    open_client(page)
    page.clock.run_for(31_000)
    assert page.evaluate("client.state.state") == "live"
    page.clock.run_for(10_100)
    assert [one["reason"] for one in events(page, "state") if one["state"] == "reconnecting"] == ["no answer"]


def test_a_reloaded_tab_keeps_its_session_and_a_duplicated_one_gets_its_own(page, server):
    open_client(page)
    session = page.evaluate("client.sessionId")
    page.reload()
    open_client(page)
    assert page.evaluate("client.sessionId") == session
    with page.expect_popup() as opened:
        page.evaluate("void window.open(location.href)")
    copy = opened.value
    assert copy.evaluate("sessionStorage.getItem('stocksblitz.session')") == session, (
        "the copy begins with the same storage"
    )
    open_client(copy)
    assert copy.evaluate("client.sessionId") != session
    assert page.evaluate("client.state.state") == "live"
    copy.reload()
    open_client(copy)
    assert (
        copy.evaluate("client.sessionId")
        == copy.evaluate("sessionStorage.getItem('stocksblitz.session')")
        != session
    )


def test_a_session_that_was_ended_while_the_tab_slept_is_replaced_once(page, server):
    page.goto(f"{ORIGIN}/")
    page.evaluate("sessionStorage.setItem('stocksblitz.session', 'ended')")
    opened = server.open

    def refuse_first(socket: WebSocketRoute) -> None:
        if "session_id=ended" in socket.url:
            server.urls.append(socket.url)
            socket.close(code=4508, reason="ended")
        else:
            opened(socket)

    page.route_web_socket(re.compile("ws://localhost:9999/"), refuse_first)
    open_client(page)
    assert page.evaluate("client.sessionId") != "ended"
    assert len(server.urls) == 2


def test_many_subscriptions_stay_under_the_message_limit(page, server):
    page.clock.install(time=0)
    open_client(page)
    page.clock.pause_at(10)
    page.evaluate("""() => { window.all = Promise.all(Array.from({length: 60}, (_, n) =>
                          client.subscribe("S" + n, "1min", []))); }""")
    heard(page, server, "subscribe", 25)
    page.clock.run_for(900)
    page.wait_for_timeout(100)
    assert len(server.sent("subscribe")) == 25
    page.clock.resume()
    assert len(page.evaluate("all")) == 60


def test_close_ends_everything(page, server):
    open_client(page)
    subscribe(page)
    page.evaluate("client.close()")
    assert page.evaluate("client.state.state") == "closed"
    assert outcome(page, "client.list()")["code"] == "closed"
    page.wait_for_timeout(600)
    assert len(server.sockets) == 1
