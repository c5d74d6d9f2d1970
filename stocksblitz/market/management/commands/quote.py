"""``manage.py quote SYMBOL [--account A]``: the price as every view and order would get it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes.config import FEED_ACCOUNT
from stocksblitz.market.quotes.current_price import get_instrument_current_price_sync
from stocksblitz.market.quotes.types import Price


class Command(BaseCommand):
    help = "Print the current price of a symbol, its age and provider, and whether it was a hit, a wait or a call."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbol")
        parser.add_argument(
            "--account", default=FEED_ACCOUNT, help="an account of QUOTE_ACCOUNTS (default: the feed)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            price = get_instrument_current_price_sync(options["account"], options["symbol"])
        except StocksBlitzError as error:
            raise CommandError(error.message) from error
        self.stdout.write(_line(options["symbol"], price))


def _line(symbol: str, price: Price) -> str:
    sides = "" if price.bid is None or price.ask is None else f" (bid {price.bid:.10g}, ask {price.ask:.10g})"
    kept = f"kept for {price.ttl_ms} ms"
    return f"{symbol} {price.price:.10g}{sides}, {price.age_ms} ms old, {kept}, by {price.provider}: {price.outcome}"
