"""Pages of a list: ``limit`` and ``offset``, refused where they are no whole numbers."""

from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

from stocksblitz.api.parameters import whole_number

LARGEST_OFFSET = 10**15


class Pages(LimitOffsetPagination):
    """Pages of a list, 50 rows each unless the request says otherwise."""

    default_limit = 50
    max_limit: int = 500

    def get_limit(self, request: Request) -> int | None:
        """Return how many rows a page has; raise ``invalid_parameter`` unless it is 1 to ``max_limit``."""
        return whole_number(
            request.query_params, self.limit_query_param, self.default_limit, low=1, high=self.max_limit
        )

    def get_offset(self, request: Request) -> int:
        """Return how many rows the page skips; raise ``invalid_parameter`` unless it is a whole number."""
        offset = whole_number(request.query_params, self.offset_query_param, 0, low=0, high=LARGEST_OFFSET)
        return offset or 0
