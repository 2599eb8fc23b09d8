"""A paginator that counts no further than the last page that can be opened."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet

MOST_PAGES = 100


class CappedPaginator(Paginator[Any]):
    """Counts no further than the last page that can be opened; ``capped`` says that there is more."""

    @cached_property
    def _counted(self) -> int:
        return self._ids()[: self._most + 1].count()

    def _ids(self) -> QuerySet[Any, Any]:
        """Return the ids in the list's order, so that PostgreSQL uses its index instead of reading from the oldest rows on."""
        return cast(QuerySet[Any], self.object_list).values("pk")

    @property
    def _most(self) -> int:
        return MOST_PAGES * self.per_page

    @cached_property
    def count(self) -> int:
        return min(self._counted, self._most)

    @property
    def capped(self) -> bool:
        return self._counted > self._most


class StatesPaginator(CappedPaginator):
    """A paginator for rows in one of several states: the index orders each state, but not all of them together."""

    def _ids(self) -> QuerySet[Any, Any]:
        return super()._ids().order_by()
