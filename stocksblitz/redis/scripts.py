"""Lua scripts: each is a ``.lua`` file beside its caller, which describes its KEYS and ARGV."""

from functools import cache
from pathlib import Path
from typing import Any


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
