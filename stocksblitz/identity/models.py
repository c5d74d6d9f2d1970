"""Logins, so that a token can be refused after its logout, and API keys that belong to a user."""

import uuid

from django.conf import settings
from django.db import models
from rest_framework_api_key.models import AbstractAPIKey


class Login(models.Model):
    """One sign-in; every token made from it carries its id and is refused once it is revoked."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="logins")
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    session_key = models.CharField(max_length=40, default="", blank=True, editable=False)
    """Of the browser session that the login is, else empty."""

    def __str__(self) -> str:
        return str(self.id)


class ApiKey(AbstractAPIKey):
    """A key of one user, made and revoked in the admin."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")

    @property
    def expires_at(self) -> int | None:
        """When it expires, in ms."""
        return int(self.expiry_date.timestamp() * 1000) if self.expiry_date else None

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
