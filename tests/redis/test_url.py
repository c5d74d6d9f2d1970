"""What REDIS_URL may say, and how the rest is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stocksblitz.redis import url as redis_url

ROOT = Path(__file__).resolve().parents[2]


def test_one_server_and_a_watched_master():
    for url in ("redis://a:6379/1", "rediss://a", "unix:///tmp/redis.sock?db=2"):
        assert redis_url.check(url) == url
        assert redis_url.sentinels(url) is None
        assert redis_url.cache(url)["LOCATION"] == url
    assert redis_url.sentinels("sentinel://a:1,b,[::1]:3/main") == (
        [("a", 1), ("b", 26379), ("::1", 3)],
        "main",
    )
    assert redis_url.sentinels("sentinel://a:1") == ([("a", 1)], "mymaster")


@pytest.mark.parametrize(
    "url",
    [
        "cluster://a:1,b:2",
        "http://a",
        "a:6379",
        "sentinel://",
        "sentinel://a:b",
        "sentinel://x:y@a:1",
        "sentinel://a,,b",
    ],
)
def test_what_we_cannot_use_is_refused(url):
    with pytest.raises(ValueError, match="REDIS_URL"):
        redis_url.check(url)


def test_a_cluster_is_refused_at_the_start_with_the_reason():
    env = {**os.environ, "REDIS_URL": "cluster://127.0.0.1:7000,127.0.0.1:7001"}
    command = [sys.executable, "manage.py", "compute_indicators", "--once"]
    ended = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert "Redis Cluster is not supported" in ended.stderr
