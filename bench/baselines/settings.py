"""The project's settings with one route more: an empty view to compare with, in the same process."""

from stocksblitz.settings import *  # noqa: F403

ROOT_URLCONF = "bench.baselines.urls"
