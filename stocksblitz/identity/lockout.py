"""The lockout of those who guess passwords, counted in Redis."""

from typing import Any

from axes.handlers.cache import AxesCacheHandler


class LockoutHandler(AxesCacheHandler):
    """Counter of failed sign-ins in Django's cache.

    The library tells its handler of changes to its own tables too, and the cache's handler lacks these two methods.
    """

    def post_save_access_attempt(self, instance: object, **_: Any) -> None:
        """Ignore a saved row: the count is in the cache."""

    def post_delete_access_attempt(self, instance: object, **_: Any) -> None:
        """Ignore a deleted row: the count is in the cache."""
