"""Decoders of what processes announce to sockets; a message of another shape is BadData (pure)."""

from typing import Any

from stocksblitz.redis.decoding import BadData, decode_json

_EVENT = {"id": int, "kind": str, "text": str, "ts": int}


def decode_updates(data: bytes) -> list[str]:
    """Return the accounts whose snapshot is new."""
    accounts = _object("updates", data).get("accounts")
    if not isinstance(accounts, list) or not all(isinstance(account, str) for account in accounts):
        raise BadData("updates: accounts", accounts, "a list of account keys")
    return accounts


def decode_event(data: bytes) -> tuple[str, dict[str, Any]]:
    """Return the account and the fields of a margin event."""
    message = _object("events", data)
    account, event = message.get("account"), message.get("event")
    if not isinstance(account, str) or not isinstance(event, dict) or event.keys() != _EVENT.keys():
        raise BadData("events", data, "an account and its event")
    if not all(type(event[name]) is kind for name, kind in _EVENT.items()):
        raise BadData("events: event", event, f"an object with {', '.join(_EVENT)}")
    return account, event


def _object(field: str, data: bytes) -> dict[str, Any]:
    message = decode_json(field, data)
    if not isinstance(message, dict):
        raise BadData(field, data, "a JSON object")
    return message
