"""The portfolio over REST: owners trade their own accounts, staff makes accounts and may see all."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django_filters.filters import CharFilter
from django_filters.rest_framework.backends import DjangoFilterBackend
from django_filters.rest_framework.filterset import FilterSet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portfolio.api import serializers as given
from portfolio.margin.types import Quote
from portfolio.models import Account, Fill, LedgerEntry, MarginEvent, Order, Position
from portfolio.services import accounts, idempotency
from portfolio.services.queries import current_snapshot, get_account, visible
from portfolio.worker import equity_history
from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.api.pagination import Pages
from stocksblitz.api.schema import documented
from stocksblitz.identity.authentication import Credentials
from stocksblitz.identity.views import Strict

_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key does the same thing once"
)
View = TypeVar("View", bound=Callable[..., Any])


def described(ok: Any, *statuses: int, **options: Any) -> Callable[[View], View]:
    """`documented`, for the routes of this app."""
    return documented(ok, *statuses, tags=["portfolio"], **options)


def _user(request: Request) -> User:
    assert isinstance(request.user, User)
    return request.user


def _body(kind: type[Strict], request: Request, **options: Any) -> dict[str, Any]:
    body = kind(data=request.data, **options)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def staff_only(request: Request, doing: str) -> None:
    if not _user(request).is_staff:
        raise StocksBlitzError("forbidden", f"only staff may {doing}")


def _check_may_book(request: Request) -> None:
    """Refuse whoever may not book positions at a price of their choice."""
    by_key = isinstance(request.auth, Credentials) and request.auth.via == "key"
    if not (_user(request).is_staff or (by_key and _user(request).has_perm("portfolio.book_position"))):
        raise StocksBlitzError(
            "forbidden",
            "positions as booked elsewhere are for staff, or for an API key whose user has the permission "
            "portfolio.book_position: place an order instead",
        )


def _once[Prepared](
    request: Request,
    book: Callable[[Prepared], tuple[int, Any]],
    prepare: Callable[[], Prepared] = lambda: None,  # type: ignore[assignment,return-value]
) -> Response:
    """Answer with what ``book`` makes of what was prepared, booked once for each Idempotency-Key."""
    digest = idempotency.digest(str(request.method), request.path, request.data)
    key = request.headers.get("Idempotency-Key")
    status, answer = idempotency.once(_user(request), key, digest, prepare, book)
    return Response(answer, status=status)


class AccountList(ListAPIView[Account]):
    serializer_class = given.AccountReply
    pagination_class = Pages
    filter_backends = [DjangoFilterBackend]
    filterset_fields = ["user_type", "currency", "state"]
    queryset = Account.objects.none()

    def get_queryset(self) -> QuerySet[Account]:
        return visible(_user(self.request))

    @described(given.AccountReply(many=True), 400, operation_id="portfolio_accounts")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One's accounts; staff sees all."""
        return super().get(request, *args, **kwargs)

    @described(
        given.AccountReply,
        409,
        status=201,
        body=given.AccountRequest,
        operation_id="portfolio_open_account",
    )
    def post(self, request: Request) -> Response:
        """Make an account (staff)."""
        staff_only(request, "make accounts")
        body = _body(given.AccountRequest, request)
        name = body.pop("owner")
        owner = User.objects.filter(username=name, is_active=True).first()
        if owner is None:
            raise accounts.invalid(f"owner: there is no active user {name[:60]!r}")
        account = accounts.open_account(owner=owner, **body)
        return Response(given.AccountReply(account).data, status=201)


class AccountView(APIView):
    @described(given.AccountReply, 404, operation_id="portfolio_account")
    def get(self, request: Request, key: str) -> Response:
        """An account and its rules."""
        return Response(given.AccountReply(get_account(_user(request), key, doing="read")).data)

    @described(given.AccountReply, 404, body=given.AccountPatch, operation_id="portfolio_change_account")
    def patch(self, request: Request, key: str) -> Response:
        """Change an account's rules (staff)."""
        get_account(_user(request), key, doing="change rules")
        staff_only(request, "change the rules of accounts")
        return Response(
            given.AccountReply(accounts.change_account(key=key, **_body(given.AccountPatch, request))).data
        )


class SnapshotView(APIView):
    @described(given.SnapshotReply, 404, operation_id="portfolio_snapshot")
    def get(self, request: Request, key: str) -> Response:
        """The account with the prices of now."""
        return Response(current_snapshot(get_account(_user(request), key, doing="snapshot")))


class EquityView(APIView):
    @described(given.EquityReply, 404, operation_id="portfolio_equity")
    def get(self, request: Request, key: str) -> Response:
        """Equity of the last hours, every ten seconds since somebody first asked for it."""
        account = get_account(_user(request), key, doing="equity")
        return Response({"account": account.key, "points": equity_history.read(account.key)})


class WhatIfView(APIView):
    @described(given.SnapshotReply, 404, body=given.WhatIfRequest, operation_id="portfolio_what_if")
    def post(self, request: Request, key: str) -> Response:
        """The account if prices moved."""
        account = get_account(_user(request), key, doing="what-if")
        return Response(current_snapshot(account, _body(given.WhatIfRequest, request)["shocks"]))


class DepositView(APIView):
    @described(
        given.AccountReply,
        404,
        409,
        body=given.DepositRequest,
        operation_id="portfolio_deposit",
        parameters=[_KEY],
    )
    def post(self, request: Request, key: str) -> Response:
        """Pay in, or out with a negative amount (staff)."""
        get_account(_user(request), key, doing="deposit")
        staff_only(request, "book deposits")
        body = _body(given.DepositRequest, request)
        return _once(request, lambda _: (200, given.AccountReply(accounts.deposit(key=key, **body)).data))


class _OfAccount(ListAPIView[Any]):
    """What belongs to one account, page by page."""

    pagination_class = Pages
    model: Any = None

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            nothing: QuerySet[Any] = self.model.objects.none()
            return nothing
        account = get_account(_user(self.request), self.kwargs["key"], doing=self.model._meta.verbose_name)
        found: QuerySet[Any] = self.model.objects.filter(account=account).select_related("account")
        return found.order_by("-id")


class EventList(_OfAccount):
    model = MarginEvent
    serializer_class = given.EventReply

    @described(given.EventReply(many=True), 404, operation_id="portfolio_events")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What happened to the account's margin and pending orders, newest first."""
        return super().get(request, *args, **kwargs)


class JournalList(_OfAccount):
    model = MarginEvent
    serializer_class = given.JournalReply

    @described(given.JournalReply(many=True), 404, operation_id="portfolio_journal")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The same with everything that led to it: prices, rates, the numbers before and after."""
        return super().get(request, *args, **kwargs)


class LedgerList(_OfAccount):
    model = LedgerEntry
    serializer_class = given.LedgerReply

    @described(given.LedgerReply(many=True), 404, operation_id="portfolio_ledger")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every change of the balance, newest first."""
        return super().get(request, *args, **kwargs)


class _Filter(FilterSet):
    account = CharFilter(field_name="account__key")
    symbol = CharFilter(field_name="instrument__symbol")


class _PositionFilter(_Filter):
    class Meta:
        model = Position
        fields = ["status", "side"]


class _OrderFilter(_Filter):
    class Meta:
        model = Order
        fields = ["status", "side", "type"]


class _FillFilter(_Filter):
    class Meta:
        model = Fill
        fields = ["position", "order"]


class _Mine(GenericAPIView[Any]):
    """Rows of all accounts that one may see, newest first."""

    model: Any = None
    queryset: Any = None

    def get_queryset(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model.objects.select_related("account", "instrument").order_by("-id")
        user = self.request.user
        return rows if user.is_staff else rows.filter(account__owner_id=user.pk)

    def _one(self, request: Request, pk: int, doing: str) -> Any:
        row = self.get_queryset().filter(pk=pk).first()
        if row is None:
            raise StocksBlitzError(
                "not_found", f"there is no such {self.model._meta.verbose_name} of yours: {pk}"
            )
        get_account(_user(request), row.account.key, doing=doing)
        return row


class _List(_Mine, ListAPIView[Any]):
    pagination_class = Pages
    filter_backends = [DjangoFilterBackend]


class PositionList(_List):
    model = Position
    queryset = Position.objects.none()
    serializer_class = given.PositionReply
    filterset_class = _PositionFilter

    @described(given.PositionReply(many=True), operation_id="portfolio_positions")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Positions, open and closed."""
        return super().get(request, *args, **kwargs)

    @described(
        given.PositionReply, 403, 404, 409, status=201, body=given.PositionRequest, parameters=[_KEY],
        operation_id="portfolio_book_position",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Book a position as it was booked elsewhere, at its own price (staff, or an API key with the permission)."""
        _check_may_book(request)
        body = _body(given.PositionRequest, request)
        key = get_account(_user(request), body.pop("account"), doing="book position").key
        return _once(
            request, lambda _: (201, given.PositionReply(accounts.book_position(key=key, **body)).data)
        )


class PositionView(_Mine):
    model = Position
    queryset = Position.objects.none()

    @described(given.PositionReply, 404, operation_id="portfolio_position")
    def get(self, request: Request, pk: int) -> Response:
        """One position."""
        return Response(given.PositionReply(self._one(request, pk, "read position")).data)


class CloseView(_Mine):
    model = Position
    queryset = Position.objects.none()
    serializer_class = given.CloseReply
    http_method_names = ["post", "options"]

    @described(
        given.CloseReply, 404, 409, body=given.CloseRequest, parameters=[_KEY],
        operation_id="portfolio_close_position",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        """Close a position, or some of its lots, at the current quote."""
        held, body = self._one(request, pk, "close position"), _body(given.CloseRequest, request)
        key, quantity = held.account.key, body.get("quantity")

        def quote() -> Quote:
            return accounts.current_quote(key, held.instrument.symbol)

        def close(quote: Quote) -> tuple[int, Any]:
            fill = accounts.close_position(key=key, position_id=pk, quantity=quantity, quote=quote)
            return 200, given.CloseReply(fill).data

        return _once(request, close, quote)


class OrderList(_List):
    model = Order
    queryset = Order.objects.none()
    serializer_class = given.OrderReply
    filterset_class = _OrderFilter

    @described(given.OrderReply(many=True), operation_id="portfolio_orders")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Orders, pending and done."""
        return super().get(request, *args, **kwargs)

    @described(
        given.OrderReply, 404, 409, status=201, body=given.OrderRequest, parameters=[_KEY],
        operation_id="portfolio_place_order",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Place an order: executed at the quote, or kept until its price comes."""
        body = _body(given.OrderRequest, request)
        key = get_account(_user(request), body.pop("account"), doing="place order").key
        order = {"kind": body.pop("type"), "price": body.pop("price", None), **body}

        def quote() -> Quote:
            return accounts.current_quote(key, accounts.get_instrument(order["symbol"]).symbol)

        def place(quote: Quote) -> tuple[int, Any]:
            return 201, given.OrderReply(accounts.place_order(key=key, quote=quote, **order)).data

        return _once(request, place, quote)


class OrderView(_Mine):
    model = Order
    queryset = Order.objects.none()

    @described(given.OrderReply, 404, operation_id="portfolio_order")
    def get(self, request: Request, pk: int) -> Response:
        """One order and its fills."""
        return Response(given.OrderReply(self._one(request, pk, "read order")).data)

    @described(given.OrderReply, 404, operation_id="portfolio_cancel_order")
    def delete(self, request: Request, pk: int) -> Response:
        """Take back a pending order."""
        order = self._one(request, pk, "cancel order")
        return Response(given.OrderReply(accounts.cancel_order(key=order.account.key, order_id=pk)).data)


class FillList(_List):
    model = Fill
    queryset = Fill.objects.none()
    serializer_class = given.FillReply
    filterset_class = _FillFilter

    @described(given.FillReply(many=True), operation_id="portfolio_fills")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Executions."""
        return super().get(request, *args, **kwargs)
