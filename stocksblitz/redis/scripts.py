"""Lua scripts: each is a ``.lua`` file beside its caller, which describes its KEYS and ARGV."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError


@cache
def script_text(caller: str, name: str) -> str:
    """Return the text of ``name.lua`` in the folder of the module whose ``__file__`` is ``caller``."""
    return Path(caller).with_name(f"{name}.lua").read_text(encoding="utf-8")


def register(client: Any, caller: str, name: str) -> Any:
    """Return the script as redis-py's callable: ``script(keys=[...], args=[...], client=pipeline)``.

    ``client`` is a synchronous or asyncio client; a script of an asyncio client is awaited. Redis is sent the text
    only when it does not have it yet.
    """
    return client.register_script(script_text(caller, name))


@cache
def _sha(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with the keys and arguments of one call; it has to be safe to run twice."""

    text: str
    keys: Sequence[str]
    args: Sequence[Any]


def run_scripts(client: Any, calls: Sequence[ScriptCall]) -> list[Any]:
    """Run all calls in one round trip of a synchronous client and return their answers.

    Scripts that Redis has forgotten are loaded, and then all calls are run again.
    """
    if not calls:
        return []
    try:
        return _run(client, calls)
    except NoScriptError:
        for text in {call.text for call in calls}:
            client.script_load(text)
        return _run(client, calls)


def _run(client: Any, calls: Sequence[ScriptCall]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for call in calls:
        pipe.evalsha(_sha(call.text), len(call.keys), *call.keys, *call.args)
    answers: list[Any] = pipe.execute()
    return answers
