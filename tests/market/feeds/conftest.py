"""A writer over the tests' Redis, with a feed that does as it is told."""

import pytest

from stocksblitz.market.feeds.base import Feed
from stocksblitz.market.feeds.writer import MarketWriter
from stocksblitz.market.models import Instrument
from stocksblitz.redis.keys import Keys
from tests.market.feeds.outside import Outside


class Puppet(Feed):
    """Markets are set by the test; the past is what the test says."""

    source = "puppet"

    def __init__(self):
        super().__init__()
        self.closed_bars = {}

    async def open(self, *, intact, gen):
        self.intact, self.gen = intact, gen

    async def step(self, now):
        return False

    async def history(self, symbol):
        return self.closed_bars.get(symbol, {})


@pytest.fixture
def mock_keys(namespace):
    return Keys(f"{namespace}mock:")


@pytest.fixture
def real_keys(namespace):
    return Keys(namespace)


@pytest.fixture
def puppet():
    return Puppet()


@pytest.fixture
def writer(aredis, mock_keys, puppet):
    return MarketWriter(aredis, mock_keys, puppet, mock=True)


@pytest.fixture
async def outside(aredis, redis, real_keys):
    opened = []

    async def make(option=""):
        opened.append(await Outside(aredis, redis, real_keys, option).open())
        return opened[-1]

    await Instrument.objects.acreate(symbol="AAA", exchange="24x7", kind="crypto", currency="USD")
    yield make
    for each in opened:
        await each.close()
