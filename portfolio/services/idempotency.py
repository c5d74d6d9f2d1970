"""Idempotency keys: a request that moves money is done once, however often it is sent with the same key."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from portfolio.models import IdempotencyKey
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.json_format import dumps

KEPT = timedelta(days=7)
"""Nobody retries a request for longer than this."""
_KEY = re.compile(r"[\x21-\x7e]{1,128}\Z")
Answer = tuple[int, Any]


def digest(method: str, path: str, body: Any) -> str:
    """Return a fingerprint that tells one request from another."""
    return hashlib.sha256(orjson.dumps([method, path, body], option=orjson.OPT_SORT_KEYS)).hexdigest()


def once[Prepared](
    user: User,
    key: str | None,
    fingerprint: str,
    prepare: Callable[[], Prepared],
    book: Callable[[Prepared], Answer],
) -> Answer:
    """Return the answer (status and body) of a request, booked once for each key of a user.

    ``prepare`` does what is slow, such as fetching a quote, before the transaction; ``book`` writes, in one
    transaction with the key. A request that fails keeps no key, so that it can be tried again. StocksBlitzError
    ``conflict`` when the key was used for another request, ``invalid_parameter`` when it is malformed.
    """
    if key is None:
        return book(prepare())
    if not _KEY.match(key):
        raise StocksBlitzError(
            "invalid_parameter", "Idempotency-Key: expected 1 to 128 visible ASCII characters"
        )
    earlier = _earlier_answer(user, key, fingerprint)
    if earlier:
        return earlier
    prepared = prepare()
    try:
        return _book_with_key(user, key, fingerprint, lambda: book(prepared))
    except IntegrityError:
        earlier = _earlier_answer(user, key, fingerprint)
        if earlier is None:
            raise
        return earlier


def _book_with_key(user: User, key: str, fingerprint: str, book: Callable[[], Answer]) -> Answer:
    with transaction.atomic():
        row = IdempotencyKey.objects.create(user=user, key=key, digest=fingerprint, status=0, answer={})
        status, answer = book()
        row.status, row.answer = status, orjson.loads(dumps(answer))
        row.save(update_fields=["status", "answer"])
    return status, row.answer


def _earlier_answer(user: User, key: str, fingerprint: str) -> Answer | None:
    row = IdempotencyKey.objects.filter(user=user, key=key).first()
    if row is None:
        return None
    if row.digest != fingerprint:
        raise StocksBlitzError(
            "conflict", "this Idempotency-Key was used for another request: take a new one"
        )
    return row.status, row.answer


def forget_old() -> int:
    """Delete the keys that nobody can be retrying any more; return how many there were."""
    return IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
