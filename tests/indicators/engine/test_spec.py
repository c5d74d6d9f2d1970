"""Ids and parameters: what means the same has one canonical id, what is wrong is refused with a clear message."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indicators.engine.spec import CATALOGUE, build, parse, parse_request
from stocksblitz.api.errors import StocksBlitzError

CANONICAL = [
    ("RSI_14", "RSI_14"),
    ("RSI", "RSI_14"),
    ("RSI_14_100", "RSI_14"),
    ("RSI_14_100.0", "RSI_14"),
    ("rsi_14", "RSI_14"),
    ("RSI_14_50", "RSI_14_50"),
    ("RSI_014", "RSI_14"),
    ("MACD", "MACD_12_26_9"),
    ("MACD_12_26_9", "MACD_12_26_9"),
    ("MACD_5_35", "MACD_5_35_9"),
    ("BBANDS_20_2.0", "BBANDS_20_2"),
    ("BBANDS_20_2.50", "BBANDS_20_2.5"),
    ("SMA_20", "SMA_20"),
    ("EMA_9", "EMA_9"),
    ("EMA_200", "EMA_200"),
    ("ATR_14", "ATR_14"),
    ("ADX_14", "ADX_14"),
    ("STOCH_14_3_3", "STOCH_14_3_3"),
    ("SUPERTREND_10_3", "SUPERTREND_10_3"),
    ("SUPERTREND", "SUPERTREND_10_3"),
    ("VWAP", "VWAP"),
    ("KC_20_2_10", "KC_20_2"),
    ("SQUEEZE_PRO", "SQUEEZE_PRO_20_2_20_2_1.5_1_12_6"),
    ("CDL_DOJI", "CDL_DOJI_10_10"),
    ("CDLDOJI", "CDLDOJI"),
    ("PIVOTS", "PIVOTS"),
    ("PIVOTS_FIBONACCI", "PIVOTS_fibonacci"),
    ("HT_TRENDLINE", "HT_TRENDLINE"),
]
WRONG = [
    ("RSI_-1", "whole number from 2"),
    ("RSI_0", "whole number from 2"),
    ("RSI_99999999", "to 2500"),
    ("RSI_" + "9" * 80, "number"),
    ("RSI_14.5", "whole number"),
    ("RSI_nan", "number"),
    ("RSI_inf", "number"),
    ("RSI_1e3", "number"),
    ("RSI_14_", "number"),
    ("RSI_14_100_3", "at most 2 parameters"),
    ("RSI__14", "number"),
    ("RSI_１４", "number"),
    ("BBANDS_20_0", "from 0.01"),
    ("MACD_26_12_9", "fast must be less than slow"),
    ("EMA_400", "use a shorter length"),
    ("RSI_160", "use a shorter length"),
    ("PIVOTS_none", "must be one of traditional"),
    ("X" * 5000, "at most 100 characters"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_ids_that_mean_the_same_are_one(text, canonical):
    assert parse(text).id == canonical
    assert parse(text) == parse(canonical)
    assert hash(parse(text)) == hash(parse(canonical))


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_wrong_ids_are_refused(text, says):
    with pytest.raises(StocksBlitzError, match=says) as caught:
        parse(text)
    assert caught.value.code == "invalid_parameter"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", [None, 14, ["RSI_14"]])
def test_an_id_is_text(text):
    with pytest.raises(StocksBlitzError, match="text such as RSI_14") as caught:
        parse(text)
    assert caught.value.code == "invalid_message"


@pytest.mark.parametrize("text", ["FOO_14", "FOO", "_", "RSI14", "DROP TABLE", "RSI-14", "\x00"])
def test_unknown_names(text):
    with pytest.raises(StocksBlitzError, match="catalogue") as caught:
        parse(text)
    assert caught.value.code == "unknown_indicator"


def test_params_are_typed_and_complete():
    assert dict(parse("RSI_21").params) == {"length": 21, "scalar": 100.0}
    assert dict(parse("SUPERTREND_7_2.5").params) == {"length": 7, "multiplier": 2.5}
    with pytest.raises(TypeError):
        parse("RSI_21").params["length"] = 5


def test_the_three_forms():
    keyed = {"RSI_14_100": {"name": "RSI", "params": {"length": 14, "scalar": 100}}}
    assert {k: v.id for k, v in parse_request(keyed).items()} == {"RSI_14_100": "RSI_14"}
    assert {k: v.id for k, v in parse_request(["RSI_14_100", "SMA"]).items()} == {
        "RSI_14_100": "RSI_14",
        "SMA": "SMA_20",
    }
    objects = [{"name": "BBANDS", "params": {"length": 20, "std": 2}}, {"name": "VWAP"}]
    assert list(parse_request(objects)) == ["BBANDS_20_2", "VWAP"]
    assert parse_request({"MACD_12_26_9": {"name": "MACD", "params": {"fast": 12, "slow": 26, "signal": 9}}})
    assert parse_request(None) == parse_request([]) == parse_request({}) == {}


@pytest.mark.parametrize(
    "asked",
    [
        {"RSI_15": {"name": "RSI", "params": {"length": 14}}},
        {"RSI_14": {"name": "SMA", "params": {"length": 14}}},
        {"RSI_14_50": {"name": "RSI", "params": {"length": 14}}},
        [{"name": "RSI", "params": {"length": "14"}}],
        [{"name": "RSI", "params": {"length": True}}],
        [{"name": "RSI", "params": {"length": None}}],
        [{"name": "RSI", "params": {"length": float("nan")}}],
        [{"name": "RSI", "params": {"length": float("inf")}}],
        [{"name": "RSI", "params": {"length": 10**400}}],
        [{"name": "RSI", "params": {"length": -1}}],
        [{"name": "RSI", "params": {"period": 14}}],
        [{"name": "RSI", "params": {"length": [14]}}],
    ],
)
def test_contradictions_and_wrong_parameters_are_refused(asked):
    with pytest.raises(StocksBlitzError) as caught:
        parse_request(asked)
    assert caught.value.code == "invalid_parameter"


@pytest.mark.parametrize(
    "asked",
    [
        {"RSI_14": {"name": "RSI", "params": {"length": 14}, "more": 1}},
        {"RSI_14": {"params": {"length": 14}}},
        {"RSI_14": None},
        {"RSI_14": 14},
        {"RSI_14": {"name": "RSI", "params": [14]}},
        [{"name": ["RSI"]}],
        [{"name": None}],
        [None],
        [14],
        [[[[]]]],
        "RSI_14",
        14,
        True,
    ],
)
def test_what_has_another_shape_is_refused(asked):
    with pytest.raises(StocksBlitzError) as caught:
        parse_request(asked)
    assert caught.value.code == "invalid_message"


@pytest.mark.parametrize("asked", [[{"name": "FOO"}], [""], ["RSI_14", "FOO"]])
def test_unknown_names_in_requests(asked):
    with pytest.raises(StocksBlitzError) as caught:
        parse_request(asked)
    assert caught.value.code == "unknown_indicator"


def code_of(function, *args):
    """The code of the error a call ends with, None where there is none; anything else is raised on."""
    try:
        function(*args)
    except StocksBlitzError as error:
        return error.code
    return None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_whatever_comes_only_one_error_goes(asked):
    for function in (parse, parse_request, build):
        assert code_of(function, asked) in (None, "invalid_message", "invalid_parameter", "unknown_indicator")


@given(name=st.sampled_from(sorted(CATALOGUE)), draw=st.data())
def test_every_allowed_parameter_goes_through_its_id(name, draw):
    params = {}
    for param in CATALOGUE[name].params:
        if param.kind == "choice":
            params[param.name] = draw.draw(st.sampled_from(param.choices))
        elif param.kind == "int":
            params[param.name] = draw.draw(st.integers(int(param.low), int(param.high)))
        else:
            params[param.name] = draw.draw(st.floats(param.low, param.high))
    if (code := code_of(build, name, params)) is not None:  # too long to settle, or not ascending
        assert code == "invalid_parameter"
        return
    spec = build(name, params)
    assert parse(spec.id) == spec
    assert dict(parse(spec.id).params) == dict(spec.params)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert 1 <= spec.warmup <= spec.history <= 3000


def test_lengths_in_common_use_settle_within_the_kept_bars():
    for text in ("EMA_200", "SMA_200", "RSI_50", "ATR_100", "ADX_50", "BBANDS_200_2", "MACD_50_100_9"):
        assert parse(text).history <= 3000
