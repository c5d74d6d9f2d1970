"""How the API describes itself: the ways to authenticate, and the problem that every error is."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers


class FieldError(serializers.Serializer[Any]):
    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """An error as RFC 9457 has it; ``code`` is stable, ``detail`` says what was expected and what came."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    errors = FieldError(many=True, required=False)  # type: ignore[assignment]  # a field of this name


@extend_schema_field({"type": "object", "additionalProperties": {}})
class JSONObject(serializers.JSONField):
    """A JSON object whose names are not fixed. The schema of a plain JSONField that may be null refuses null."""


EVERYWHERE = (400, 401, 403, 406, 429, 503)
WITH_BODY = (413, 415)
SESSION_HEADER = OpenApiParameter(
    "X-Session-ID",
    OpenApiTypes.UUID,
    OpenApiParameter.HEADER,
    description="The session; left out, the token's own",
)


def documented[View: Callable[..., Any]](
    ok: Any, *statuses: int, status: int = 200, body: Any = None, **options: Any
) -> Callable[[View], View]:
    """Describe a view's method: what it answers, what it takes, and with which statuses it may refuse."""
    refusals = {*EVERYWHERE, *statuses, *(WITH_BODY if body is not None else ())}
    responses: dict[Any, Any] = {status: ok}
    responses |= {(each, "application/problem+json"): Problem for each in sorted(refusals)}
    decorate: Callable[[View], View] = extend_schema(request=body, responses=responses, **options)
    return decorate


class _Bearer(OpenApiAuthenticationExtension):
    target_class = "stocksblitz.identity.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class _ApiKey(OpenApiAuthenticationExtension):
    target_class = "stocksblitz.identity.authentication.ApiKeyAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key …`, made and revoked in the admin",
        }


class _Cookie(OpenApiAuthenticationExtension):
    target_class = "stocksblitz.identity.authentication.CookieAuthentication"
    name = "cookie"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


def summarise(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Each operation's first sentence as its summary: what the page of the API shows before one is opened."""
    for operations in result["paths"].values():
        for operation in operations.values():
            text = " ".join(operation.get("description", "").split())
            if text:
                operation.setdefault("summary", text.split(". ")[0].removesuffix("."))
    return result
