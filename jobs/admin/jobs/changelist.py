"""The jobs list on millions of rows: a capped count, and evidence read only for the shown rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol, cast
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin import run_progress
from jobs.admin.jobs.filters import AgeFilter, UnindexedFilter, WeighingFilter
from jobs.admin.jobs.typed_filters import CreatedBeforeFilter, CreatedSinceFilter
from jobs.admin.sorting import SortedChangeList
from jobs.models import Job, MessageTrouble
from jobs.recovery import waiting
from jobs.runs.evidence import Evidence
from opsconsole.kit import capped_paginator
from opsconsole.kit.built_once import built_once
from opsconsole.kit.capped_paginator import CappedPaginator
from opsconsole.kit.compiled_rows import CompiledRows
from opsconsole.kit.keyset import Cursor, older

# A filter without an index is applied to this many rows at a time, which takes some tens of milliseconds. Rows that
# match another filter are scattered, each on its own page of the table, so fewer of them are read.
ROWS_LOOKED_THROUGH = 20_000
ROWS_APART_LOOKED_THROUGH = 5_000


class ShownJob(Evidence, Protocol):
    """A row of the list."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def completed_at(self) -> datetime | None: ...
    @property
    def not_before(self) -> datetime | None: ...
    @property
    def error_message(self) -> str | None: ...
    @property
    def percent(self) -> Decimal | None: ...
    @property
    def message_trouble(self) -> MessageTrouble | None: ...
    def is_scheduled(self, now: datetime) -> bool: ...


class JobPaginator(CappedPaginator):
    @cached_property
    def _counted(self) -> int:
        return len(self.object_list) if isinstance(self.object_list, _Found) else super()._counted


class _Found(list[UUID]):
    """Ids in the list's order, as far as they are counted, so that an expensive search is done once."""

    def _clone(self) -> _Found:
        """Return itself; Django clones a queryset that it shows whole."""
        return self


class JobChangeList(SortedChangeList):
    """Its queryset contains all matching jobs, for the actions; the shown jobs are searched from the first of the list on.

    ``looked_back_to`` is how far back the list was searched; None when it was searched completely.
    """

    looked_back_to: datetime | None = None
    oldest_first = False

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self._broad = jobs = super().get_queryset(request, exclude_parameters)
        for spec in self._unindexed():
            jobs = spec.narrow(request, jobs)
        return self.menu.sorted(jobs) if self.menu else jobs

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        """Order by the time of creation, and by the key as the index does."""
        ordering = super().get_ordering(request, queryset)
        chosen = self.menu and self.menu.chosen
        self.oldest_first = chosen.from_oldest if chosen else "created_at" in ordering
        return ["created_at", "pk"] if self.oldest_first else ordering

    def _filters(self) -> list[SimpleListFilter]:
        return [spec for spec in self.filter_specs if isinstance(spec, SimpleListFilter)]

    def _unindexed(self) -> list[UnindexedFilter]:
        return [spec for spec in self._filters() if isinstance(spec, UnindexedFilter) and spec.reads_many]

    @property
    def looked_among(self) -> str:
        """Return which of the jobs that match the other filters were searched; '' where all of them were."""
        return next((spec.among for spec in self._unindexed() if spec.among), "")

    @property
    def looked_through(self) -> int:
        unindexed, by_time = self._unindexed(), (AgeFilter, CreatedSinceFilter, CreatedBeforeFilter)
        others = any(
            spec.value() and spec not in unindexed and not getattr(spec, "only_sorts", False)
            for spec in self._filters()
            if not isinstance(spec, by_time)
        )
        return ROWS_APART_LOOKED_THROUGH if others or self.query else ROWS_LOOKED_THROUGH

    @property
    def further_back(self) -> str:
        """Return the query string for the jobs behind those that were searched."""
        end = cast(datetime, self.looked_back_to)
        name = CreatedBeforeFilter.parameter_name
        if self.oldest_first:
            name, end = CreatedSinceFilter.parameter_name, end + timedelta.resolution
        # "p" is named as a key, because Django removes parameters by prefix.
        return self.get_query_string({name: end.isoformat(), "p": None})

    def get_results(self, request: HttpRequest) -> None:
        if self._unindexed():
            self._look_through()
        elif any(isinstance(spec, WeighingFilter) and spec.value() for spec in self._filters()):
            self.queryset = self._found(self.queryset)
        super().get_results(request)
        page = self.result_list[: self.list_max_show_all]
        ids = page if isinstance(page, list) else list(page.values_list("pk", flat=True))
        self.result_list = shown(ids)

    def ids_after(self, after: Cursor | None, most: int) -> tuple[list[UUID], Cursor | None]:
        """Return the next ids of the list, newest first, and where to continue; None at its end.

        With a filter without an index, as many rows are read as for a page; there may be fewer ids then, or none.
        """
        matching, floor = older(self.queryset, "created_at", after), None
        if self._unindexed():
            floor = self._end_of_look(older(self._broad, "created_at", after))
        if floor:
            matching = matching.filter(created_at__gte=floor)
        found = list(matching.values_list("pk", "created_at")[: most + 1])
        if len(found) > most:
            last, created_at = found[most - 1]
            return [pk for pk, _ in found[:most]], Cursor(created_at, last)
        return [pk for pk, _ in found], Cursor(floor) if floor else None

    def _end_of_look(self, jobs: QuerySet[Any]) -> datetime | None:
        newest = jobs.values_list("created_at", flat=True)
        end: datetime | None = newest[self.looked_through : self.looked_through + 1].first()
        return end

    def _look_through(self) -> None:
        self.looked_back_to = self._end_of_look(self._broad)
        jobs = self.queryset
        if self.looked_back_to:
            end = "created_at__lte" if self.oldest_first else "created_at__gte"
            jobs = jobs.filter(**{end: self.looked_back_to})
        self.queryset = found = self._found(jobs)
        if len(found) > self._most_found:
            # More than can be shown: how far the search went tells nothing.
            self.looked_back_to = None

    @property
    def _most_found(self) -> int:
        return capped_paginator.MOST_PAGES * self.list_per_page

    def _found(self, jobs: QuerySet[Any]) -> _Found:
        return _Found(jobs.values_list("pk", flat=True)[: self._most_found + 1])


def shown(ids: Sequence[UUID]) -> list[Any]:
    """Return these jobs as lists show them: with the signs of their life and the state of their message, without payloads."""
    found = _as_shown().of_keys(ids)
    return with_troubles([found[pk] for pk in ids if pk in found])


@built_once
def _as_shown() -> CompiledRows[Any]:
    """Return all jobs as lists show them."""
    jobs = Job.objects.with_signs_of_life().with_message().order_by().defer("payload")
    return CompiledRows(run_progress.with_percent(jobs))


def with_troubles(jobs: list[Any]) -> list[Any]:
    """Say of jobs loaded ``with_message()`` which message is proven lost."""
    found = waiting.troubles(jobs)
    for job in jobs:
        job.message_trouble = found.get(job.pk, job.message_trouble)
    return jobs
