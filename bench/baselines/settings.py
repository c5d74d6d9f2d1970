"""The project's settings with one route more: an empty view to compare with, in the same process."""

from stocksblitz.settings import *  # noqa: F403  (the settings of the house, a few of them changed)

ROOT_URLCONF = "bench.baselines.urls"
