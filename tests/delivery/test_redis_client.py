"""The asyncio client under more work at once than it has connections."""

import asyncio

from stocksblitz.redis import CONNECTIONS, connect


async def test_a_burst_waits_for_connections_instead_of_failing(namespace: str) -> None:
    client = connect()
    try:
        answers = await asyncio.gather(*[client.echo(str(each)) for each in range(20 * CONNECTIONS)])
        assert answers == [str(each).encode() for each in range(20 * CONNECTIONS)]
        assert len(client.connection_pool._available_connections) <= CONNECTIONS
    finally:
        await client.aclose()
