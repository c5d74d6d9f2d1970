"""Settings of the project with one additional route: an empty view, for a comparison in the same process."""

from stocksblitz.settings import *  # noqa: F403  (every setting of the project applies here too)

ROOT_URLCONF = "bench.baselines.urls"
