"""Who wants what, in Redis: derived from the database, changed by single scripts, the same after a retry.

Per computation a sorted set of the sessions that want it (score: when their interest runs out, ms); per session a hash
with its version, when it was last alive, and its computations. `Keys.wanted` names what has a subscriber and
`Keys.demand` announces its changes, both kept in the same scripts.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from redis.exceptions import NoScriptError

from stocksblitz.redis.keys import Keys

TOMBSTONE_MS = 3_600_000
"""How long a session's version is remembered after its end, so that a late write cannot bring it back."""

_COMMON = """
local function name(template, c)
  local s, t, i = string.match(c, '^([^|]*)|([^|]*)|(.*)$')
  return string.format(template, s, t, i)
end
local function announce(channel, add, drop)
  local function list(t) return #t == 0 and '[]' or cjson.encode(t) end
  if #add + #drop == 0 then return end
  redis.call('PUBLISH', channel, '{"add":' .. list(add) .. ',"drop":' .. list(drop) .. '}')
end
local function leave(zset, wanted, created, c, member, drop)
  redis.call('ZREM', zset, member)
  if redis.call('EXISTS', zset) == 0 then
    redis.call('HDEL', created, c)
    if redis.call('SREM', wanted, c) == 1 then drop[#drop + 1] = c end
  end
end
"""

# State in, not steps: the whole set of the session's computations at one version. A lower version changes nothing.
# KEYS session wanted created; ARGV channel template member version now ttl keep ended ws extend n asked... all...
_APPLY = (
    _COMMON
    + """
local session, wanted, created = KEYS[1], KEYS[2], KEYS[3]
local channel, template, member = ARGV[1], ARGV[2], ARGV[3]
local version, now, ttl, keep = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local n = tonumber(ARGV[11])
local live = '(' .. ARGV[5]
local counts = {}
for i = 1, n do counts[i] = redis.call('ZCOUNT', name(template, ARGV[11 + i]), live, '+inf') end
local stored = tonumber(redis.call('HGET', session, 'v') or '-1')
if version < 0 then version = stored end
if version >= stored then
  local have, add, drop = {}, {}, {}
  for i = 12 + n, #ARGV do
    local c = ARGV[i]
    have['c:' .. c] = true
    local zset = name(template, c)
    if ARGV[10] == '1' then redis.call('ZADD', zset, now + ttl, member)
    else redis.call('ZADD', zset, 'NX', now + ttl, member) end
    redis.call('HSETNX', session, 'c:' .. c, ARGV[5])
    if redis.call('SADD', wanted, c) == 1 then
      redis.call('HSETNX', created, c, ARGV[5])
      add[#add + 1] = c
    end
  end
  for _, field in ipairs(redis.call('HKEYS', session)) do
    if string.sub(field, 1, 2) == 'c:' and not have[field] then
      local c = string.sub(field, 3)
      redis.call('HDEL', session, field)
      leave(name(template, c), wanted, created, c, member, drop)
    end
  end
  redis.call('HSET', session, 'v', version, 'ended', ARGV[8], 'ws', ARGV[9])
  if ARGV[10] == '1' then redis.call('HSET', session, 'seen', ARGV[5]) end
  redis.call('PEXPIRE', session, ttl + keep)
  announce(channel, add, drop)
end
for i = 1, n do
  counts[n + i] = redis.call('ZCOUNT', name(template, ARGV[11 + i]), live, '+inf')
end
return counts
"""
)

# Any sign of life of a socket renews all of its session. KEYS session; ARGV template member now ttl keep
_TOUCH = (
    _COMMON
    + """
if redis.call('HGET', KEYS[1], 'ended') ~= '0' then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'c:' then
    redis.call('ZADD', name(ARGV[1], string.sub(field, 3)), ARGV[3] + ARGV[4], ARGV[2])
  end
end
redis.call('HSET', KEYS[1], 'seen', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4] + ARGV[5])
return 1
"""
)

# The computations named, each if it is still alive. KEYS session; ARGV template member now ttl keep c...
_HEARTBEAT = (
    _COMMON
    + """
local alive = {}
for i = 6, #ARGV do
  local zset = name(ARGV[1], ARGV[i])
  local score = redis.call('ZSCORE', zset, ARGV[2])
  if score and tonumber(score) > tonumber(ARGV[3]) then
    redis.call('ZADD', zset, ARGV[3] + ARGV[4], ARGV[2])
    redis.call('HSET', KEYS[1], 'c:' .. ARGV[i], ARGV[3], 'seen', ARGV[3])
    alive[#alive + 1] = 1
  else
    alive[#alive + 1] = 0
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4] + ARGV[5])
return alive
"""
)

# A dropped socket's session runs out sooner, unless another socket is its current one by now.
# KEYS session; ARGV template member until ws
_RELEASE = (
    _COMMON
    + """
if redis.call('HGET', KEYS[1], 'ws') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], 'ws', '')
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'c:' then
    redis.call('ZADD', name(ARGV[1], string.sub(field, 3)), 'XX', 'LT', ARGV[3], ARGV[2])
  end
end
return 1
"""
)

# What of one session ran out leaves. KEYS session wanted created; ARGV channel template member now
_LAPSED = (
    _COMMON
    + """
local gone, drop = {}, {}
local version = redis.call('HGET', KEYS[1], 'v') or '-1'
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'c:' then
    local c = string.sub(field, 3)
    local zset = name(ARGV[2], c)
    local score = redis.call('ZSCORE', zset, ARGV[3])
    if not score or tonumber(score) <= tonumber(ARGV[4]) then
      redis.call('HDEL', KEYS[1], field)
      leave(zset, KEYS[2], KEYS[3], c, ARGV[3], drop)
      gone[#gone + 1] = {ARGV[3], version, c}
    end
  end
end
announce(ARGV[1], {}, drop)
return gone
"""
)

# Members that ran out leave; says who left what at which version.
# KEYS wanted created; ARGV channel template sessions now c...
_PURGE = (
    _COMMON
    + """
local gone, drop = {}, {}
for i = 5, #ARGV do
  local c = ARGV[i]
  local zset = name(ARGV[2], c)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', zset, '-inf', ARGV[4])) do
    local session = string.format(ARGV[3], member)
    redis.call('HDEL', session, 'c:' .. c)
    leave(zset, KEYS[1], KEYS[2], c, member, drop)
    gone[#gone + 1] = {member, redis.call('HGET', session, 'v') or '-1', c}
  end
  if redis.call('EXISTS', zset) == 0 and redis.call('SREM', KEYS[1], c) == 1 then
    redis.call('HDEL', KEYS[2], c)
    drop[#drop + 1] = c
  end
end
announce(ARGV[1], {}, drop)
return gone
"""
)


class Count(NamedTuple):
    """Live subscribers of one computation before and after a write."""

    before: int
    after: int


class Expired(NamedTuple):
    """One session's interest in one computation that ran out, at this version of the session."""

    member: str
    version: int
    computation: str


@dataclass(frozen=True, slots=True)
class State:
    """All that a session wants at one version of it; ``asked`` are the computations whose counts are to be told."""

    member: str
    version: int
    computations: frozenset[str]
    asked: tuple[str, ...] = ()
    ended: bool = False
    ws_conn_id: str = ""
    extend: bool = True


type Command = tuple[str, list[str], list[Any]]
"""A script, its keys and its arguments."""


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()


def ttl_ms() -> int:
    return settings.SESSION_TTL * 1000


def template(keys: Keys) -> str:
    return keys.subscribers("%s", "%s", "%s")


def created(keys: Keys) -> str:
    """Hash: computation to when its first subscriber came (ms)."""
    return keys.name("created")


def apply(keys: Keys, state: State, now: int) -> Command:
    args: list[Any] = [keys.demand, template(keys), state.member, state.version, now, ttl_ms(), TOMBSTONE_MS]
    args += [int(state.ended), state.ws_conn_id, int(state.extend), len(state.asked), *state.asked]
    return _APPLY, [keys.session(state.member), keys.wanted, created(keys)], [*args, *state.computations]


def touch(keys: Keys, member: str, now: int) -> Command:
    return _TOUCH, [keys.session(member)], [template(keys), member, now, ttl_ms(), TOMBSTONE_MS]


def heartbeat(keys: Keys, member: str, now: int, computations: Iterable[str]) -> Command:
    args = [template(keys), member, now, ttl_ms(), TOMBSTONE_MS, *computations]
    return _HEARTBEAT, [keys.session(member)], args


def release(keys: Keys, member: str, ws_conn_id: str, until: int) -> Command:
    return _RELEASE, [keys.session(member)], [template(keys), member, until, ws_conn_id]


def lapsed(keys: Keys, member: str, now: int) -> Command:
    args = [keys.demand, template(keys), member, now]
    return _LAPSED, [keys.session(member), keys.wanted, created(keys)], args


def purge(keys: Keys, now: int, computations: Iterable[str]) -> Command:
    args = [keys.demand, template(keys), keys.session("%s"), now, *computations]
    return _PURGE, [keys.wanted, created(keys)], args


def counts(answer: Sequence[int]) -> list[Count]:
    """What `apply` answers, per asked computation."""
    half = len(answer) // 2
    return [Count(*pair) for pair in zip(answer[:half], answer[half:], strict=True)]


def gone(answer: Sequence[Sequence[bytes]]) -> list[Expired]:
    """What `purge` and `lapsed` answer."""
    return [Expired(member.decode(), int(version), c.decode()) for member, version, c in answer]


def _queue(pipe: Any, commands: Sequence[Command]) -> Any:
    for script, names, args in commands:
        pipe.evalsha(_sha(script), len(names), *names, *args)
    return pipe


def run(redis: Any, commands: Sequence[Command]) -> list[Any]:
    """All commands in one round trip; scripts that Redis has forgotten are loaded and everything is done again."""
    if not commands:
        return []
    try:
        answers: list[Any] = _queue(redis.pipeline(transaction=False), commands).execute()
    except NoScriptError:
        for script in {each[0] for each in commands}:
            redis.script_load(script)
        answers = _queue(redis.pipeline(transaction=False), commands).execute()
    return answers


def split(text: str) -> tuple[str, str, str]:
    """Symbol, timeframe and canonical id of a computation."""
    symbol, timeframe, indicator = text.split("|", 2)
    return symbol, timeframe, indicator
