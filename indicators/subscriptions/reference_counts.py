"""Who subscribes to what, in Redis: derived from the database, changed by single scripts, the same after a retry.

Per computation a sorted set of the sessions that subscribe to it (score: when they expire, ms); per session a hash
with its version, when it was last alive, and its computations. `Keys.wanted` names the computations that have a
subscriber and `Keys.demand` announces its changes, both kept in the same scripts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from redis.exceptions import RedisError

from stocksblitz.redis.keys import Keys
from stocksblitz.redis.scripts import ScriptCall, run_scripts, script_text

TOMBSTONE_MS = 3_600_000
"""How long a session's version is remembered after its end, so that a late write cannot bring it back."""
ATTEMPTS = 8
"""How often a command is tried while other processes change the same session."""
CHANGED = b"changed"


class Count(NamedTuple):
    """Live subscribers of one computation before and after a write."""

    before: int
    after: int


class Expired(NamedTuple):
    """One computation that a session lost by expiry, at this version of the session."""

    session_key: str
    version: int
    computation: str


@dataclass(frozen=True, slots=True)
class State:
    """All that a session has at one version of it; ``asked`` are the computations whose subscribers are counted."""

    session_key: str
    version: int
    computations: frozenset[str]
    asked: tuple[str, ...] = ()
    ended: bool = False
    ws_conn_id: str = ""
    extend: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """One script on one session: its own arguments, and the marks of the computations that it names."""

    script: str
    session_key: str
    now: int
    args: tuple[Any, ...]
    marks: Mapping[str, int]

    def call(self, keys: Keys, known: Iterable[str]) -> ScriptCall:
        """Return the call, given also the other computations that the session is known to have."""
        names = [*self.marks, *sorted(set(known) - self.marks.keys())]
        subscribers = [keys.subscribers(*split(name)) for name in names]
        marks = "".join(str(self.marks.get(name, 0)) for name in names)
        return ScriptCall(
            _text(self.script),
            [keys.session(self.session_key), keys.wanted, created(keys), *subscribers],
            [keys.demand, self.session_key, self.now, *self.args, marks, *names],
        )


@cache
def _text(script: str) -> str:
    return script_text(__file__, "session") + script_text(__file__, script)


def ttl_ms() -> int:
    return settings.SESSION_TTL * 1000


def created(keys: Keys) -> str:
    """Return the name of the hash: computation to when its first subscriber came (ms)."""
    return keys.name("created")


def apply(state: State, now: int) -> Command:
    """Return the command that gives a session this state; it answers counts, see `counts`."""
    args = (
        state.version,
        ttl_ms(),
        TOMBSTONE_MS,
        int(state.ended),
        state.ws_conn_id,
        int(state.extend),
    )
    marks = dict.fromkeys(state.asked, 2)
    for name in state.computations:
        marks[name] = marks.get(name, 0) + 1
    return Command("apply", state.session_key, now, args, marks)


def touch(session_key: str, now: int) -> Command:
    """Return the command that renews all that a session has."""
    return Command("touch", session_key, now, (ttl_ms(), TOMBSTONE_MS), {})


def heartbeat(session_key: str, now: int, computations: Iterable[str]) -> Command:
    """Return the command that renews these computations; it answers for each of them whether it is alive."""
    return Command("heartbeat", session_key, now, (ttl_ms(), TOMBSTONE_MS), dict.fromkeys(computations, 1))


def release(session_key: str, now: int, ws_conn_id: str, until: int) -> Command:
    """Return the command that has a session expire at a time, if this socket is its current one."""
    return Command("release", session_key, now, (until, ws_conn_id), {})


def expire(session_key: str, now: int, computations: Iterable[str] = ()) -> Command:
    """Return the command that removes a session's expired subscriptions, see `expired`."""
    return Command("expire", session_key, now, (), dict.fromkeys(computations, 0))


def counts(state_asked: Sequence[str], answer: Sequence[int]) -> list[Count]:
    """Return what `apply` answers, per asked computation."""
    names = dict.fromkeys(state_asked)
    found = dict(zip(names, map(Count, answer[::2], answer[1::2]), strict=True))
    return [found[name] for name in state_asked]


def expired(session_key: str, answer: Sequence[bytes]) -> list[Expired]:
    """Return what `expire` answers."""
    version, *lost = answer
    return [Expired(session_key, int(version), name.decode()) for name in lost]


def run(redis: Any, keys: Keys, commands: Sequence[Command]) -> list[Any]:
    """Run all commands in their order: one round trip reads what the sessions have, one changes it.

    A session that another process changes in between is read and written again.
    """
    answers: list[Any] = [None] * len(commands)
    pending = list(range(len(commands)))
    for _ in range(ATTEMPTS):
        if not pending:
            return answers
        found = run_scripts(redis, _calls(redis, keys, [commands[index] for index in pending]))
        for index, answer in zip(pending, found, strict=True):
            answers[index] = answer
        pending = [index for index in pending if answers[index] == CHANGED]
    if pending:
        raise RedisError("sessions change faster than they can be written: try again")
    return answers


def _calls(redis: Any, keys: Keys, commands: Sequence[Command]) -> list[ScriptCall]:
    """Each knows what its session had, and what commands before it gave to the same session."""
    known: dict[str, set[str]] = defaultdict(set, _stored(redis, keys, commands))
    calls = []
    for command in commands:
        calls.append(command.call(keys, known[command.session_key]))
        known[command.session_key] |= command.marks.keys()
    return calls


def _stored(redis: Any, keys: Keys, commands: Sequence[Command]) -> dict[str, set[str]]:
    sessions = list(dict.fromkeys(command.session_key for command in commands))
    pipe = redis.pipeline(transaction=False)
    for session_key in sessions:
        pipe.hkeys(keys.session(session_key))
    return {
        session_key: {field[2:].decode(errors="replace") for field in fields if field.startswith(b"c:")}
        for session_key, fields in zip(sessions, pipe.execute(), strict=True)
    }


def forget_unsubscribed(redis: Any, keys: Keys, computations: Sequence[str]) -> None:
    """Forget those of the computations that have no subscribers although they count as subscribed to."""
    subscribers = [keys.subscribers(*split(name)) for name in computations]
    text = script_text(__file__, "forget_unsubscribed")
    call = ScriptCall(text, [keys.wanted, created(keys), *subscribers], [keys.demand, *computations])
    run_scripts(redis, [call])


def split(computation: str) -> tuple[str, str, str]:
    """Return symbol, timeframe and canonical id of a computation."""
    symbol, timeframe, indicator = computation.split("|", 2)
    return symbol, timeframe, indicator
