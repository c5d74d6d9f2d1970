"""A worker's task goes on after Redis or the database failed, and after nothing else."""

import asyncio
import time

import pytest
from django.db import DatabaseError
from redis.exceptions import RedisError

from stocksblitz.workers import backoff
from stocksblitz.workers.backoff import retry_forever


async def test_a_step_that_fails_is_repeated_until_it_works(monkeypatch, caplog):
    monkeypatch.setattr(backoff, "FIRST_PAUSE_S", 0.001)
    stop, calls = asyncio.Event(), []

    async def step():
        calls.append(len(calls))
        if len(calls) <= 3:
            raise (RedisError, OSError, DatabaseError)[len(calls) - 1]("away")
        if len(calls) == 5:
            stop.set()

    await retry_forever("reading", step, stop, every=0)
    assert len(calls) == 5
    assert [record.action for record in caplog.records if hasattr(record, "action")].count("trouble") == 1


async def test_any_other_exception_is_raised():
    async def step():
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await retry_forever("reading", step, asyncio.Event(), every=0)


async def test_the_stop_ends_a_pause():
    stop = asyncio.Event()

    async def step():
        asyncio.get_running_loop().call_later(0.01, stop.set)
        raise OSError("away")

    begun = time.monotonic()
    await retry_forever("reading", step, stop, every=0, cap=1000.0)
    assert time.monotonic() - begun < 30


async def test_a_lambda_that_returns_a_coroutine_is_awaited():
    stop, calls = asyncio.Event(), []

    async def step(number):
        calls.append(number)
        if len(calls) < 3:
            raise OSError("away")
        stop.set()

    await asyncio.wait_for(retry_forever("reading", lambda: step(7), stop, every=0), 30)
    assert calls == [7, 7, 7]
