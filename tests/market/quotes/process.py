"""A process that asks for the symbols it reads, for tests of several: it says when it is ready."""

import json
import sys
import time

import django

django.setup()

from django.conf import settings

namespace, account, options = sys.argv[1:4]
settings.REDIS_NAMESPACE = namespace
settings.QUOTE_ACCOUNTS = options
settings.PRICE_CACHE_TIME = 60.0

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.quotes.current_price import get_instrument_current_price_sync

print("ready", flush=True)
for line in sys.stdin:
    try:
        price = get_instrument_current_price_sync(account, line.strip())
        print(json.dumps({**price._asdict(), "answered": time.time()}), flush=True)
    except StocksBlitzError as error:
        print(json.dumps({"error": error.code, "message": error.message}), flush=True)
