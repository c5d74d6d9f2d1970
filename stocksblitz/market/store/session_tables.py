"""When exchanges trade, for the web process: read from the tables that the feed keeps in Redis."""

from stocksblitz.api.errors import StocksBlitzError
from stocksblitz.market.calendars.overrides import check_exchange
from stocksblitz.market.calendars.session_table import decode_table
from stocksblitz.market.core.bars import EVERY_DAY, Sessions, utc_day
from stocksblitz.observability.bad_data import BadDataLog
from stocksblitz.redis.client import current_keys, each_answer_sync, good, sync_client
from stocksblitz.redis.keys import Keys

_bad_tables = BadDataLog("session_table")


def session_table_name(keys: Keys, exchange: str) -> str:
    """Return the key of an exchange's table."""
    return keys.name("sessions", exchange)


def sessions_of(exchange: str) -> Sessions:
    """Return the function that finds the session of a time (ms UTC) on an exchange.

    StocksBlitzError ``unavailable`` while no feed has written its table, ``invalid_parameter`` for no exchange.
    """
    if exchange in EVERY_DAY:
        return utc_day
    check_exchange(exchange)
    with _bad_tables.skip(exchange):
        pipe = sync_client().pipeline(transaction=False).get(session_table_name(current_keys(), exchange))
        if raw := good(each_answer_sync(pipe)[0]):
            return decode_table(raw).session_at
    raise StocksBlitzError("unavailable", f"no feed has written the sessions of {exchange} yet: try again")
