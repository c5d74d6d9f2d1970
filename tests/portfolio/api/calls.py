"""The portfolio's REST calls that tests make most, as alice."""

A = "/api/portfolio/accounts"
P = "/api/portfolio/positions"
O = "/api/portfolio/orders"  # noqa: E741  (orders, beside accounts and positions)


def buy(rest, key, symbol="EURUSD", quantity="1.00", price="1.2790", side="buy", status=201, **headers):
    body = {"account": key, "symbol": symbol, "side": side, "quantity": quantity, "price": price}
    return rest["admin"]("post", P, body, status, **headers)


def order(
    rest, key, kind="market", symbol="EURUSD", quantity="1", side="buy", status=201, headers=None, **more
):
    body = {"account": key, "symbol": symbol, "side": side, "quantity": quantity, "type": kind, **more}
    return rest["alice"]("post", O, body, status, **(headers or {}))


def snapshot(rest, key):
    return rest["alice"]("get", f"{A}/{key}/snapshot")
