"""One-shot computations as messages: the job that a reader queues, and the result that a worker announces."""

import uuid
from dataclasses import dataclass, fields
from typing import Any

import orjson

from indicators.engine.formats import check_entry, check_series, is_whole
from stocksblitz.api.errors import KINDS, StocksBlitzError
from stocksblitz.market.core.bars import TIMEFRAMES
from stocksblitz.market.core.symbols import is_symbol
from stocksblitz.redis.decoding import BadData, decode_json
from stocksblitz.redis.keys import MOCK_TTL_S, Keys

CURRENT, HISTORY = "current", "history"
MOST_VALUES = 10_000
"""Values of one history; requests ask for at most half as many."""
MAX_JOB_BYTES = 2_048
MAX_RESULT_BYTES = 16 * 1024 * 1024
"""Of a history: 10,000 values of many parts."""


def latest_ttl_ms(timeframe: str, *, mock: bool) -> int:
    """Return how long a stored value may be read: twice its timeframe, and never longer than mock data live."""
    ttl = 2 * TIMEFRAMES[timeframe]
    return min(ttl, 1000 * MOCK_TTL_S) if mock else ttl


def new_token() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One computation that a user asked for.

    ``kind``: ``current`` is the value at the newest bar, ``history`` one value for each of the last ``limit`` closed
    bars that opened before ``before`` (ms). ``token``: the job's id, and what the lock holds meanwhile. ``deadline``
    (ms): nobody waits any longer. ``low`` and ``high``: the bars (ms) a current value may belong to; 0 where any will do,
    for a cached value may be too old for its market (a replay is faster than any time to live).
    """

    kind: str
    symbol: str
    timeframe: str
    indicator: str
    token: str
    owner: int
    ttl: int
    deadline: int
    low: int = 0
    high: int = 0
    limit: int = 0
    before: int = 0
    generation: str = ""

    @property
    def key(self) -> str:
        """The name of what is computed: jobs with the same key have the same result."""
        return "|".join((self.kind, self.symbol, self.timeframe, self._part))

    @property
    def _part(self) -> str:
        """The name of the result within its stream."""
        if self.kind == CURRENT:
            return self.indicator
        return f"{self.indicator}:{self.before - 1}:{self.limit}:{self.generation}"

    def cached_at(self, keys: Keys) -> str:
        """Return the name of the key that the result is stored in."""
        if self.kind == CURRENT:
            return keys.latest(self.symbol, self.timeframe, self.indicator)
        return keys.name("history", self.symbol, self.timeframe, self._part)

    def locked_at(self, keys: Keys) -> str:
        return keys.lock(self.symbol, self.timeframe, self._part)

    def encode(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def decode(cls, raw: bytes) -> "Job":
        """Read a job from the queue; BadData for what is none."""
        found = decode_json("job", raw, MAX_JOB_BYTES)
        if not isinstance(found, dict) or found.keys() != _TYPES.keys():
            raise BadData("job", raw, "an object with exactly the fields of a job")
        if not all(type(found[name]) is kind for name, kind in _TYPES.items()):
            raise BadData("job", raw, "texts and whole numbers")
        job = cls(**found)
        if not job._is_possible():
            raise BadData("job", raw, "a known kind, symbol and timeframe, and bounds that fit")
        return job

    def _is_possible(self) -> bool:
        return (
            self.kind in (CURRENT, HISTORY)
            and is_symbol(self.symbol)
            and self.timeframe in TIMEFRAMES
            and is_whole(self.ttl, low=1)
            and is_whole(self.limit, high=MOST_VALUES)
            and is_whole(self.before)
        )

    def check(self, value: Any) -> Any:
        """Return the value if it is a result of this job's kind; BadData else."""
        if self.kind == HISTORY:
            return check_series(value, self.limit)
        return check_entry(value, self.timeframe)

    def cached(self, raw: bytes) -> Any:
        """Read a stored result; None for one that belongs to another bar, BadData for what is no result."""
        value = self.check(decode_json("stored result", raw, MAX_RESULT_BYTES))
        if self.kind == CURRENT and self.low and not self.low <= value["ts"] <= self.high:
            return None
        return value


_TYPES: dict[str, Any] = {field.name: field.type for field in fields(Job)}


def encode_result(job: Job, result: Any) -> bytes:
    """Return the message that tells all who wait of a value or a StocksBlitzError."""
    if isinstance(result, StocksBlitzError):
        return orjson.dumps({"key": job.key, "error": {"code": result.code, "message": result.message}})
    return orjson.dumps({"key": job.key, "value": result})


def decode_result(raw: bytes) -> tuple[str, Any]:
    """Read such a message: the key, and the value or the error; BadData for what is no result."""
    message = decode_json("result", raw, MAX_RESULT_BYTES)
    if not isinstance(message, dict) or not isinstance(message.get("key"), str):
        raise BadData("result", raw, "an object with a key")
    if message.keys() == {"key", "error"}:
        return message["key"], _error(message["error"])
    if message.keys() != {"key", "value"}:
        raise BadData("result", raw, "either a value or an error")
    return message["key"], _checked(message["key"], message["value"])


def _error(error: Any) -> StocksBlitzError:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        raise BadData("result: error", error, "an object with a code and a message")
    code = error.get("code")
    return StocksBlitzError(
        code if isinstance(code, str) and code in KINDS else "unavailable", error["message"]
    )


def _checked(key: str, value: Any) -> Any:
    kind, _, timeframe, *_ = [*key.split("|"), "", ""]
    if kind == HISTORY:
        return check_series(value, MOST_VALUES)
    return check_entry(value, timeframe)
