"""JSON as REST speaks it: strict on the way in, exact on the way out."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from django.conf import settings
from django.utils.functional import Promise
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer


class TooLarge(exceptions.APIException):
    """A body larger than ``REST_MAX_BODY``."""

    status_code = 413
    default_code = "too_large"


def _plain(value: object) -> str:
    if isinstance(value, Decimal | Promise):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: object) -> bytes:
    """Return JSON as clients get it: NaN becomes null, a Decimal becomes a string, times end in Z."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class JSONRenderer(BaseRenderer):
    """Renderer of every REST response."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else dumps(data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


class JSONParser(BaseParser):
    """Strict parser: it refuses NaN, a name that stands twice, lone surrogates, endless nesting and large bodies."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        raw = stream.read(settings.REST_MAX_BODY + 1)
        if len(raw) > settings.REST_MAX_BODY:
            raise TooLarge(
                f"expected a body of at most {settings.REST_MAX_BODY} bytes, got more: send less at once"
            )
        try:
            data = orjson.loads(raw)
            json.loads(raw, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(f"expected JSON: {error}") from None
        return data
