"""A request that moves money is done once, however often it is sent with the same key."""

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
_KEY = re.compile(r"[\x21-\x7e]{1,128}\Z")
Answer = tuple[int, Any]


def digest(method: str, path: str, body: Any) -> str:
    return hashlib.sha256(orjson.dumps([method, path, body], option=orjson.OPT_SORT_KEYS)).hexdigest()


def once(user: User, key: str | None, fingerprint: str, work: Callable[[], Answer]) -> Answer:
    """Do ``work`` in one transaction with the key, or give the answer it gave before. Without a key: just
    do it.

    What fails is not kept, so that it can be tried again. StocksBlitzError ``conflict`` when the key was
    used for another request, ``invalid_parameter`` when it is none.
    """
    if key is None:
        return work()
    if not _KEY.match(key):
        raise StocksBlitzError(
            "invalid_parameter", "Idempotency-Key: expected 1 to 128 visible ASCII characters"
        )
    earlier = _earlier(user, key, fingerprint)
    if earlier:
        return earlier
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(user=user, key=key, digest=fingerprint, status=0, answer={})
            status, answer = work()
            row.status, row.answer = status, orjson.loads(dumps(answer))
            row.save(update_fields=["status", "answer"])
            return status, row.answer
    except IntegrityError:
        earlier = _earlier(user, key, fingerprint)
        if earlier is None:
            raise
        return earlier


def _earlier(user: User, key: str, fingerprint: str) -> Answer | None:
    row = IdempotencyKey.objects.filter(user=user, key=key).first()
    if row is None:
        return None
    if row.digest != fingerprint:
        raise StocksBlitzError(
            "conflict", "this Idempotency-Key was used for another request: take a new one"
        )
    return row.status, row.answer


def forget_old() -> int:
    """Drop keys that nobody can be retrying any more; returns how many."""
    return IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
