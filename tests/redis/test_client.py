"""Redis clients under more work at once than they have connections."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from stocksblitz.redis.client import connect, sync_client
from stocksblitz.redis.url import CONNECTIONS

BURST = 2 * CONNECTIONS
HOLD_S = 0.2
"""How long each keeps its connection: all of the burst want one at once."""


async def test_a_burst_waits_for_connections_instead_of_failing(namespace: str) -> None:
    client = connect()
    try:
        answers = await asyncio.gather(*[client.blpop(namespace, HOLD_S) for _ in range(BURST)])
        assert answers == [None] * BURST
    finally:
        await client.aclose()


def test_threads_wait_for_connections_instead_of_failing(namespace: str) -> None:
    with ThreadPoolExecutor(BURST) as threads:
        answers = list(threads.map(lambda _: sync_client().blpop(namespace, HOLD_S), range(BURST)))
    assert answers == [None] * BURST
