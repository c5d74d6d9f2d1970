"""Measure a portfolio worker's intake of price messages beside a simple design: two SMEMBERS per message."""

import asyncio
import sys
import time
from typing import Any

from bench.report import Line

MESSAGES, SYMBOLS, HOLDERS = 60_000, 1_000, 20


async def flood(done: asyncio.Event) -> None:
    """Publish price messages of all symbols from another process, as fast as Redis accepts them."""
    code = (
        "import os,redis,sys;r=redis.Redis.from_url(os.environ['REDIS_URL']);n,s=map(int,sys.argv[2:4]);"
        "p=r.pipeline(transaction=False)\n"
        "for i in range(n):\n p.publish(sys.argv[1],f'S{i*7919%s}')\n if i%500==499: p.execute()\n"
        "p.execute()"
    )
    from stocksblitz.redis.client import current_keys

    argv = ["-c", code, current_keys().price_updates, str(MESSAGES), str(SYMBOLS)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv)
    await process.wait()
    done.set()


async def hold(redis: Any, names: Any) -> None:
    """Write the sets of the accounts that hold each symbol."""
    pipe = redis.pipeline(transaction=False)
    for number in range(SYMBOLS):
        for kind in ("live", "demo"):
            pipe.sadd(
                names.holders(f"S{number}", kind), *[f"{kind}:{number * 7 + i}" for i in range(HOLDERS)]
            )
    await pipe.execute()


async def simple_design(redis: Any, names: Any) -> tuple[int, float]:
    """Take messages in with two SMEMBERS each, which fill the dirty sets; return (messages, CPU seconds)."""
    dirty: dict[str, set[str]] = {"live": set(), "demo": set()}
    pubsub = redis.pubsub()
    await pubsub.subscribe(names.price_updates)
    await pubsub.get_message(timeout=1)
    done, seen = asyncio.Event(), 0
    task = asyncio.create_task(flood(done))
    begun, started, limit_s = time.process_time(), time.monotonic(), 4.0
    while time.monotonic() - started < limit_s:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.2)
        if message is None:
            if done.is_set():
                break
            continue
        symbol = message["data"].decode()
        for kind in dirty:
            members = await redis.smembers(names.holders(symbol, kind))
            dirty[kind].update(member.decode() for member in members)
        seen += 1
    spent = time.process_time() - begun
    await pubsub.aclose()
    await task
    return seen, spent


async def ours(redis: Any, names: Any) -> tuple[int, float]:
    """Take the messages in with our listener, whose dirty accounts are read every 200 ms; return the same figures."""
    from portfolio.worker.price_listener import PortfolioCalculatorListener

    listener = PortfolioCalculatorListener(redis, names, ("live", "demo"), bound=1_000_000)
    await listener.start_listener()
    await asyncio.sleep(0.5)
    done = asyncio.Event()
    task = asyncio.create_task(flood(done))
    before, begun = listener.get_statistics()["symbols_processed"], time.process_time()
    while not done.is_set() or listener.get_statistics()["symbols_processed"] - before < MESSAGES:
        for kind in ("live", "demo"):
            listener.get_and_clear_dirty_users(kind)
        await asyncio.sleep(0.2)
    spent = time.process_time() - begun
    await task
    await listener.stop_listener()
    return MESSAGES, spent


async def intake() -> list[Line]:
    """Measure both designs and return the figures."""
    from stocksblitz.redis.client import connect, current_keys

    redis, names = connect(), current_keys()
    await hold(redis, names)
    messages, cpu_s = await simple_design(redis, names)
    baseline = messages / cpu_s
    messages, cpu_s = await ours(redis, names)
    rate = messages / cpu_s
    await redis.aclose()
    name = "portfolio: price messages taken in per second of one core (vs two SMEMBERS a message)"
    return [
        (name, rate, "/s", baseline, ">= 10"),
        ("portfolio: the same against the bound", rate, "/s", None, ">= 30000"),
    ]
