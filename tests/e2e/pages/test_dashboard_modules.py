"""The dashboard's modules on their own, in a real browser: bars, ids and parameters, plots, numbers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from indicators.engine.spec import CATALOGUE, build, catalogue
from stocksblitz.api.errors import StocksBlitzError

pytestmark = pytest.mark.browser

STATIC = Path(__file__).resolve().parents[3] / "static"
CHARTS = STATIC / "vendor/lightweight-charts/lightweight-charts.standalone.production.js"
ORIGIN = "http://localhost:9998"


@pytest.fixture
def run(context, page):
    """Runs a function body with a module of the dashboard as ``m``."""

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path.startswith("/static/"):
            route.fulfill(
                content_type="text/javascript", body=(STATIC / path.removeprefix("/static/")).read_text()
            )
        else:
            route.fulfill(content_type="text/html", body="<title>empty</title>")

    context.route(f"{ORIGIN}/**", serve)
    page.goto(f"{ORIGIN}/")
    return lambda module, body, given=None: page.evaluate(
        f"async (given) => {{ const m = await import('/static/js/{module}.js'); {body} }}", given
    )


def row(ts: int, close: float = 1.0) -> list[float]:
    return [ts, close, close, close, close, 1]


def frame(ts: int, close: float = 1.0, closed: bool = False, **indicators: Any) -> dict[str, Any]:
    ohlcv = dict(zip(("ts", "open", "high", "low", "close", "volume"), row(ts, close), strict=True)) | {
        "closed": closed
    }
    readings = {each: {"ts": ts, "value": value} for each, value in indicators.items()}
    return {
        "ohlcv": ohlcv,
        "indicators": readings,
        "history": {"bars": [], "indicators": {}, "complete": True},
    }


def snapshot(bars: list[int], ids: dict[str, list[Any]], now: dict[str, Any]) -> dict[str, Any]:
    return now | {"history": {"bars": [row(ts) for ts in bars], "indicators": ids, "complete": True}}


STATE = "return [model.bars.map((bar) => [bar[0], bar[4]]), Object.fromEntries(model.values)];"


def test_history_forming_and_closing_make_one_row_of_bars(run):
    given = [
        snapshot([10, 20], {"R": [None, 5]}, frame(30, 2, R=6)),
        frame(30, 3, R=7),
        frame(30, 4, True, R=8),
        frame(40, 9, R=None),
    ]
    bars, values = run(
        "dashboard/model",
        f"const model = new m.BarModel(); model.load(given[0]); given.slice(1).forEach((f) => model.apply(f)); {STATE}",
        given,
    )
    assert bars == [[10, 1], [20, 1], [30, 4], [40, 9]]
    assert values == {"R": [None, 5, 8, None]}


def test_coming_back_adds_what_closed_and_keeps_what_was_there(run):
    given = [
        snapshot([10], {"R": [1]}, frame(20, 2, R=2)),
        snapshot([20, 30], {"R": [22, 33]}, frame(40, 4, R=44)),
    ]
    bars, values = run(
        "dashboard/model",
        f"const model = new m.BarModel(); model.load(given[0]); model.resume(given[1]); {STATE}",
        given,
    )
    assert [ts for ts, _ in bars] == [10, 20, 30, 40]
    assert values == {"R": [1, 22, 33, 44]}


def test_older_bars_go_in_front_without_doubles(run):
    given = [
        snapshot([30], {"R": [3], "S": [9]}, frame(40, R=4, S=8)),
        {"bars": [row(10), row(20), row(30)], "indicators": {"R": [1, 2, 3]}},
    ]
    body = f"const model = new m.BarModel(); model.load(given[0]); model.added = model.prepend(given[1]); {STATE}"
    bars, values = run("dashboard/model", body, given)
    assert [ts for ts, _ in bars] == [10, 20, 30, 40]
    assert values == {"R": [1, 2, 3, 4], "S": [None, None, 9, 8]}


def test_a_late_bar_takes_its_place(run):
    given = [snapshot([10], {"R": [1]}, frame(40, R=4)), frame(20, 7, True, R=2), frame(40, 8, R=5)]
    bars, values = run(
        "dashboard/model",
        f"const model = new m.BarModel(); model.load(given[0]); given.slice(1).forEach((f) => model.apply(f)); {STATE}",
        given,
    )
    assert bars == [[10, 1], [20, 7], [40, 8]]
    assert values == {"R": [1, 2, 5]}


def changed(entry: dict[str, Any], index: int) -> dict[str, Any]:
    """Parameters with one that differs from its default, within bounds."""
    params = {param["name"]: param["default"] for param in entry["params"]}
    param = entry["params"][index]
    if param["type"] == "choice":
        params[param["name"]] = param["choices"][-1]
    elif param["type"] == "int":
        params[param["name"]] = (
            param["default"] + 1 if param["default"] < param["max"] else param["default"] - 1
        )
    else:
        params[param["name"]] = param["default"] * 0.75 or 0.25
    return params


def test_ids_are_those_of_the_server_for_every_indicator(run):
    cases = []
    for entry in catalogue():
        variants = [{}, *(changed(entry, index) for index in range(len(entry["params"])))]
        cases += [[entry, params] for params in variants]
    ids = run("dashboard/plots", "return given.map(([entry, params]) => m.idOf(entry, params));", cases)
    agreed = 0
    for (entry, params), asked in zip(cases, ids, strict=True):
        try:
            meant = build(entry["name"], params).id
        except StocksBlitzError:  # a changed length may break the order of the lengths, or need too many bars
            continue
        assert asked == meant
        agreed += 1
    assert agreed > 2 * len(CATALOGUE)


def test_every_indicator_is_drawn_with_parts_that_it_has(run):
    drawn = run("dashboard/plots", "return given.map((entry) => m.plots(entry, 0));", catalogue())
    for entry, plots in zip(catalogue(), drawn, strict=True):
        assert plots, f"{entry['name']} draws nothing"
        assert {plot["part"] for plot in plots} <= set(entry["parts"] or [""])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("14", None),
        (" 14 ", None),
        ("1", "at least 2"),
        ("101", "at most 100"),
        ("2.5", "a whole number, please"),
        ("", "a number, please"),
        ("x", "a number, please"),
    ],
)
def test_parameters_are_judged_before_they_are_sent(run, text, complaint):
    param = {"name": "length", "type": "int", "default": 14, "min": 2, "max": 100}
    assert run("dashboard/picker", "return m.complaint(given[0], given[1]);", [param, text]) == complaint


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("number(24150.5)", "24,150.50"),
        ("number(-1)", "−1.00"),
        ("signed(-1.5)", "−1.50"),
        ("signed(2)", "+2.00"),
        ("signed(0)", "0.00"),
        ("significant(0.000123456)", "0.000123"),
        ("significant(null)", "–"),
        ("significant(NaN)", "–"),
        ("compact(12450300)", "12.45M"),
        ("digitsOf('0.00001')", 5),
        ("digitsOf('0.05')", 2),
        ("digitsOf(1)", 0),
        ("digitsOf(undefined)", 2),
    ],
)
def test_numbers_are_written_as_they_deserve(run, call, text):
    assert run("page/format", f"return m.{call};") == text


@pytest.mark.parametrize(
    ("others", "shift"), [([10, 20, 30], -1), ([20, 30], 0), ([30], 1), ([], 0), ([5], 0)]
)
def test_a_view_stays_where_it_is_when_the_past_grows_or_shrinks(run, others, shift):
    given = [snapshot([20, 30], {}, frame(40)), [row(ts) for ts in others]]
    assert (
        run(
            "dashboard/model",
            "const model = new m.BarModel(); model.load(given[0]); return model.newInFront(given[1]);",
            given,
        )
        == shift
    )


MARKED_DAYS = """
const marked = new Map();
const host = document.body.appendChild(document.createElement("div"));
const axis = new m.ZonedTime();
const chart = LightweightCharts.createChartEx(host, axis, {
    width: 1400, height: 200,
    timeScale: { timeVisible: true, tickMarkFormatter: (time, type) => { marked.set(time, type); return String(time); } },
});
const series = chart.addSeries(LightweightCharts.LineSeries);
const bars = Array.from({ length: given.hours }, (_, at) => ({ time: given.from + at * 3600, value: at }));
series.setData(bars);
axis.setZone(given.zone);
series.setData([]);
series.setData(bars);
chart.timeScale().fitContent();
await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
return [...marked].filter(([, type]) => type === LightweightCharts.TickMarkType.DayOfMonth).map(([time]) => time);
"""


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/New_York", "2026-03-08"),  # the clock jumps from 2 to 3
        ("America/New_York", "2026-11-01"),  # the hour from 1 to 2 comes twice
        ("Europe/London", "2026-10-25"),
        ("Asia/Kolkata", "2026-03-08"),
    ],
)
def test_days_begin_at_midnight_of_the_zone_also_where_its_clock_changes(run, page, zone, day):
    page.add_script_tag(path=STATIC / "vendor/lightweight-charts/lightweight-charts.standalone.production.js")
    local = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=3)
    half = 1800 if zone == "Asia/Kolkata" else 0
    given = {"zone": zone, "from": int(start.timestamp()) - half, "hours": 6 * 24}
    days = [datetime.fromtimestamp(each, local) for each in run("page/timescale", MARKED_DAYS, given)]
    assert len(days) >= 4
    assert {each.strftime("%H:%M") for each in days} == {"00:00"}


def test_an_equity_curve_of_a_long_day_stays_bounded(run, page):
    page.add_script_tag(path=CHARTS)
    seconds = 86_400
    body = """
    let points = [];
    let most = 0;
    for (let time = 0; time < given; time += 1) {
        points.push({ time, value: time });
        if (points.length > 4000) points = m.thinned(points);
        most = Math.max(most, points.length);
    }
    return [most, points.at(0).time, points.at(-1).time, points.filter((one) => one.time > given - 600).length];
    """
    most, first, last, fine = run("portfolio/curve", body, seconds)
    assert most <= 4001
    assert last == seconds - 1
    assert fine >= 599, "the last minutes have every second"
    assert seconds - 9 * 3600 < first < seconds - 6 * 3600
