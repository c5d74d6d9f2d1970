"""Sessions and subscriptions for staff: live counts beside the database's, and actions that reach sockets."""

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from redis.exceptions import RedisError

from indicators.models import Session, Subscription
from indicators.subscriptions import service as subscriptions
from indicators.subscriptions.queries import live_counts, seen_at
from stocksblitz.admin import ReadOnlyAdmin
from stocksblitz.delivery import control
from stocksblitz.delivery.control import ControlMessage
from stocksblitz.redis.keys import session_key


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "open"), ("socket", "with a socket"), ("ended", "ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        match self.value():
            case "open":
                return queryset.filter(ended_at=None)
            case "socket":
                return queryset.filter(ended_at=None).exclude(ws_conn_id="")
            case "ended":
                return queryset.exclude(ended_at=None)
        return queryset


class AgeFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "up to an hour"), ("24", "up to a day"), ("old", "older")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> QuerySet[Session]:
        value = self.value()
        if value == "old":
            return queryset.filter(created_at__lt=timezone.now() - timedelta(hours=24))
        if value in ("1", "24"):
            return queryset.filter(created_at__gte=timezone.now() - timedelta(hours=int(value)))
        return queryset


class SubscriptionInline(admin.TabularInline):
    model = Subscription
    extra = 0
    can_delete = False
    fields = readonly_fields = ("symbol", "timeframe", "indicator", "canonical", "subscribed_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("session_id", "user", "state", "streams", "age", "last_activity", "ws_conn_id")
    list_filter = (StateFilter, AgeFilter)
    search_fields = ("session_id", "user__username", "ws_conn_id")
    list_select_related = ("user",)
    date_hierarchy = "created_at"
    inlines = (SubscriptionInline,)
    actions = ("end_session",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        sessions: QuerySet[Session] = super().get_queryset(request)
        return sessions.annotate(wanted=Count("subscriptions"))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Ask Redis once for the whole page."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        names = [session_key(row.user_id, str(row.session_id)) for row in rows]
        for row, seen in zip(rows, seen_at(names), strict=True):
            row.seen = max(seen, row.last_seen) if seen else row.last_seen
        changelist.result_list = rows
        return changelist

    @admin.display(description="subscriptions", ordering="wanted")
    def streams(self, session: Any) -> int:
        return int(session.wanted)

    @admin.display(description="state")
    def state(self, session: Session) -> str:
        if session.ended_at:
            return "ended"
        return "socket open" if session.ws_conn_id else "open"

    @admin.display(ordering="created_at")
    def age(self, session: Session) -> str:
        return timesince(session.created_at)

    @admin.display(description="last activity")
    def last_activity(self, session: Any) -> str:
        return f"{timesince(session.seen)} ago"

    @admin.action(description="End the selected sessions", permissions=["end"])
    def end_session(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        ended = sum(
            subscriptions.end_session_sync(user_id=user_id, session_id=str(session_id))
            for user_id, session_id in queryset.values_list("user_id", "session_id")
        )
        self.message_user(request, f"{ended} sessions ended, their sockets closed", messages.SUCCESS)

    def has_end_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("indicators.delete_session"))


def _live_counts(rows: list[Any]) -> list[int]:
    """Return how many live sessions share each row's computation; 0 where Redis is away."""
    try:
        return live_counts([(row.symbol, row.timeframe, row.canonical) for row in rows])
    except RedisError:
        return [0] * len(rows)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("symbol", "timeframe", "asked", "computed", "user", "tab", "serves", "stored", "age")
    list_filter = ("timeframe", "symbol")
    search_fields = ("symbol", "indicator", "canonical", "session__session_id", "session__user__username")
    list_select_related = ("session__user",)
    date_hierarchy = "subscribed_at"
    actions = ("drop_subscription",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        subscriptions: QuerySet[Subscription] = super().get_queryset(request)
        what = ("symbol", "timeframe", "canonical")
        same = Subscription.objects.filter(**{name: OuterRef(name) for name in what}).order_by().values(*what)
        count = same.annotate(count=Count("session", distinct=True)).values("count")
        return subscriptions.annotate(shared=Coalesce(Subquery(count), 0, output_field=IntegerField()))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Ask Redis once for the whole page."""
        changelist = super().get_changelist_instance(request)
        rows: list[Any] = list(changelist.result_list)
        counts = _live_counts(rows)
        for row, count in zip(rows, counts, strict=True):
            row.live = count
        changelist.result_list = rows
        return changelist

    @admin.display(description="indicator", ordering="indicator", empty_value="bars only")
    def asked(self, row: Subscription) -> str | None:
        return row.indicator or None

    @admin.display(description="computed as", ordering="canonical")
    def computed(self, row: Subscription) -> str | None:
        return row.canonical or None

    @admin.display(ordering="session__user__username")
    def user(self, row: Subscription) -> str:
        return row.session.user.get_username()

    @admin.display(description="session", ordering="session")
    def tab(self, row: Subscription) -> str:
        address = reverse("admin:indicators_session_change", args=[row.session.pk])
        return format_html('<a href="{}">{}</a>', address, str(row.session.session_id)[:8])

    @admin.display(description="live (Redis)")
    def serves(self, row: Any) -> str:
        return f"this computation serves {row.live} session{'' if row.live == 1 else 's'}"

    @admin.display(description="in the database", ordering="shared")
    def stored(self, row: Any) -> int:
        return int(row.shared)

    @admin.display(ordering="subscribed_at")
    def age(self, row: Subscription) -> str:
        return timesince(row.subscribed_at)

    @admin.action(description="Drop the selected subscriptions", permissions=["drop"])
    def drop_subscription(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> None:
        rows = list(queryset.select_related("session"))
        for row in rows:
            subscriptions.unsubscribe_sync(
                user_id=row.session.user_id,
                session_id=str(row.session.session_id),
                symbol=row.symbol,
                timeframe=row.timeframe,
                indicators=[row.indicator],
            )
        touched = {session_key(row.session.user_id, str(row.session.session_id)) for row in rows}
        control.publish_sync([ControlMessage(action="resync", session_key=name) for name in sorted(touched)])
        self.message_user(request, f"{len(rows)} subscriptions dropped", messages.SUCCESS)

    def has_drop_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("indicators.delete_subscription"))
