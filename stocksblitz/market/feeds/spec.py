"""What the FEED setting says: which feed, with what, and in which realm it writes."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

MOCK_FEEDS = frozenset({"simulated", "replay"})
FEED_NAMES = MOCK_FEEDS | {"external"}


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """``name[:target][?option=value&…]``, for example ``replay:bars.csv?symbol=BTCUSD&speed=max``."""

    name: str
    target: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "FeedSpec":
        """Read the setting; ValueError names the feeds there are."""
        head, _, query = text.partition("?")
        name, _, target = head.partition(":")
        if name not in FEED_NAMES:
            raise ValueError(f"FEED begins with one of {', '.join(sorted(FEED_NAMES))}, not {name!r}")
        return cls(name, target, dict(parse_qsl(query, strict_parsing=bool(query))))

    @property
    def mock(self) -> bool:
        """Simulated and replayed data live in a realm of their own."""
        return self.name in MOCK_FEEDS

    @property
    def prefix(self) -> str:
        """The realm's prefix of Redis names."""
        return "mock:" if self.mock else ""
