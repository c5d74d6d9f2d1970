"""API keys are made and revoked here; a login is ended here."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import APIKey

from stocksblitz.admin import ReadOnlyAdmin
from stocksblitz.identity import revocation
from stocksblitz.identity.models import ApiKey, Login

admin.site.unregister(APIKey)  # the package's own keys belong to nobody, and open nothing here


@admin.register(ApiKey)
class ApiKeyAdmin(APIKeyModelAdmin):
    list_display = ("prefix", "user", "name", "created", "expiry_date", "_has_expired", "revoked")  # type: ignore[assignment]  # tuples of other lengths above
    list_filter = ("revoked", "created")  # type: ignore[assignment]  # tuples of other lengths above
    search_fields = ("prefix", "name", "user__username")  # type: ignore[assignment]  # tuples of other lengths above
    autocomplete_fields = ("user",)


@admin.register(Login)
class LoginAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "created_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("id", "user__username")
    list_select_related = ("user",)
    exclude = ("session_key",)  # whoever has it is signed in
    actions = ("end_login",)

    @admin.action(description="End the selected logins", permissions=["end"])
    def end_login(self, request: HttpRequest, queryset: QuerySet[Login]) -> None:
        for login in queryset:
            revocation.revoke_login(login)
        self.message_user(
            request, f"{len(queryset)} logins ended, with all that came from them", messages.SUCCESS
        )

    def has_end_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("identity.delete_login"))
