from typing import Any

from django.apps import AppConfig


class PortfolioConfig(AppConfig):
    name = "portfolio"

    def ready(self) -> None:
        from stocksblitz.identity.revocation import access_ended

        access_ended.connect(end_sockets)


def end_sockets(
    sender: object, user_id: int, login_id: Any = None, session_id: str | None = None, **_: Any
) -> None:
    """Access that ends takes the sockets along that watch accounts, in whatever process they are."""
    import orjson

    from portfolio.services.symbol_holders import ended
    from stocksblitz.redis.client import current_keys, sync_client

    told = {"user_id": user_id, "login_id": str(login_id) if login_id else None, "session_id": session_id}
    sync_client().publish(ended(current_keys()), orjson.dumps(told))
