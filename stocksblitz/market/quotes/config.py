"""Accounts: sets of credentials with a provider, as the setting QUOTE_ACCOUNTS tells of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

FEED_ACCOUNT = "feed"


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """One account. Times in seconds; what is not a field here goes to the provider as its options."""

    name: str
    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 0
    """Calls a second that the provider allows these credentials, over all processes; 0: no limit."""
    burst: int = 1
    timeout: float = 3.0
    """Of one attempt."""
    attempts: int = 3
    breaker_failures: int = 5
    """Failed attempts in a row after which the provider is left in peace for ``breaker_seconds``."""
    breaker_seconds: float = 30.0


_OWN = {each.name for each in fields(ProviderAccount)} - {"name", "options"}
_WHOLE = {"burst", "attempts", "breaker_failures"}


def _account(name: str, raw: object) -> ProviderAccount:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("provider"), str):
        raise ImproperlyConfigured(f'QUOTE_ACCOUNTS: account {name!r} needs an object with a "provider"')
    own = {key: value for key, value in raw.items() if key in _OWN}
    for key in own.keys() - {"provider"}:
        _check(name, key, own[key])
    return ProviderAccount(name, **own, options={key: value for key, value in raw.items() if key not in _OWN})


def _check(name: str, key: str, value: object) -> None:
    kinds = int if key in _WHOLE else int | float
    least = 0 if key == "rate" else 1 if key in _WHOLE else 0.001
    if isinstance(value, bool) or not isinstance(value, kinds) or value < least:
        what = "a whole number" if key in _WHOLE else "a number"
        raise ImproperlyConfigured(
            f"QUOTE_ACCOUNTS: {key} of account {name!r} is {what} from {least} up, not {value!r}"
        )


def parse_accounts(setting: str | Mapping[str, Any]) -> dict[str, ProviderAccount]:
    """Read the setting: JSON ``{"name": {"provider": …, …}}``, or the path of a file that holds it.

    The account ``feed`` is always there. ImproperlyConfigured says what is wrong, and never shows an option's
    value.
    """
    document: Any = setting
    if isinstance(setting, str):
        text = setting.strip()
        try:
            if text and not text.startswith("{"):
                text = Path(text).read_text(encoding="utf-8")
            document = json.loads(text or "{}")
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(
                f"QUOTE_ACCOUNTS is JSON or the path of a JSON file: {error}"
            ) from None
    if not isinstance(document, Mapping):
        raise ImproperlyConfigured("QUOTE_ACCOUNTS is a JSON object: account name to its settings")
    accounts = {FEED_ACCOUNT: ProviderAccount(FEED_ACCOUNT, "feed")}
    return accounts | {name: _account(name, raw) for name, raw in document.items()}
