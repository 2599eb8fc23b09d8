"""A list that stays quick on millions of rows: a capped count, and evidence read for the shown rows alone."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, cast
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db import DataError, transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin.jobs.filters import AgeFilter, BeforeFilter, UnindexedFilter
from jobs.models import Job, MessageTrouble
from jobs.models.job import JobQuerySet
from jobs.recovery import waiting
from jobs.runs.evidence import Evidence
from opsconsole.kit import capped_paginator
from opsconsole.kit.capped_paginator import CappedPaginator

# A filter without an index is asked of so many rows at a time: a few tens of milliseconds, found or not. Rows that another
# filter leaves lie apart, each on a page of its own.
ROWS_LOOKED_THROUGH = 20_000
ROWS_APART_LOOKED_THROUGH = 5_000
SHORTEST_PREFIX = 8
HEX_LENGTH = 32
_ID_OR_PREFIX = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},{HEX_LENGTH}}}", re.IGNORECASE)


class ShownJob(Evidence, Protocol):
    """A row of the list."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def message_trouble(self) -> MessageTrouble | None: ...


class JobPaginator(CappedPaginator):
    @cached_property
    def _counted(self) -> int:
        return len(self.object_list) if isinstance(self.object_list, _Found) else super()._counted


class _Found(list[UUID]):
    """Ids in the list's order, as far as they are counted: where finding is dear, it is done once."""

    def _clone(self) -> _Found:
        """What Django asks of a queryset that it shows whole."""
        return self


class JobChangeList(ChangeList):
    """Its queryset is all that matches, for the actions; what it shows was looked for from the newest on.

    ``looked_back_to``: as far as it was looked through; None when that is all there is.
    """

    looked_back_to: datetime | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self._broad = jobs = super().get_queryset(request, exclude_parameters)
        for spec in self._unindexed():
            jobs = spec.narrow(request, jobs)
        return jobs

    def _filters(self) -> list[SimpleListFilter]:
        return [spec for spec in self.filter_specs if isinstance(spec, SimpleListFilter)]

    def _unindexed(self) -> list[UnindexedFilter]:
        return [spec for spec in self._filters() if isinstance(spec, UnindexedFilter) and spec.value()]

    @property
    def looked_through(self) -> int:
        by_time = (UnindexedFilter, AgeFilter, BeforeFilter)
        others = any(spec.value() for spec in self._filters() if not isinstance(spec, by_time))
        return ROWS_APART_LOOKED_THROUGH if others or self.query else ROWS_LOOKED_THROUGH

    @property
    def further_back(self) -> str:
        """The query string of what is older than what was looked through."""
        before = cast(datetime, self.looked_back_to).isoformat()
        # "p" is named as a key: what Django is told to remove goes by its first letters.
        return self.get_query_string({BeforeFilter.parameter_name: before, "p": None})

    def get_results(self, request: HttpRequest) -> None:
        if self._unindexed():
            self._look_through()
        super().get_results(request)
        page = self.result_list[: self.list_max_show_all]
        ids = page if isinstance(page, list) else list(page.values_list("pk", flat=True))
        shown: dict[UUID, Any] = Job.objects.with_evidence().with_message().defer("payload").in_bulk(ids)
        self.result_list = [shown[pk] for pk in ids if pk in shown]
        for pk, trouble in waiting.troubles(self.result_list).items():
            shown[pk].message_trouble = trouble

    def _look_through(self) -> None:
        newest = self._broad.values_list("created_at", flat=True)
        self.looked_back_to = newest[self.looked_through : self.looked_through + 1].first()
        jobs = self.queryset
        if self.looked_back_to:
            jobs = jobs.filter(created_at__gte=self.looked_back_to)
        most = capped_paginator.MOST_PAGES * self.list_per_page
        self.queryset = _Found(jobs.values_list("pk", flat=True)[: most + 1])


def search(jobs: JobQuerySet, term: str) -> JobQuerySet:
    """The job with this id, the jobs whose id begins so (8 hexadecimal digits or more), or those of a customer."""
    term = term.strip().replace("\x00", "")
    if not term:
        return jobs
    if first_of_customer(Job.objects.only("pk").order_by(), term, 1):
        return jobs.filter(customer_id=term)
    return by_id(jobs, term)


def first_of_customer(jobs: JobQuerySet, customer_id: str, most: int) -> list[Job]:
    """None where a customer_id column of type uuid or integer refuses such words."""
    try:
        # A savepoint: what is asked after a refusal must still be answered.
        with transaction.atomic():
            return list(jobs.filter(customer_id=customer_id)[:most])
    except DataError:
        return []


def by_id(jobs: JobQuerySet, term: str) -> JobQuerySet:
    """The job with this id, or those whose id begins so."""
    digits = term.replace("-", "")
    if not _ID_OR_PREFIX.fullmatch(digits):
        return jobs.none()
    return jobs.filter(pk__range=(UUID(digits.ljust(HEX_LENGTH, "0")), UUID(digits.ljust(HEX_LENGTH, "f"))))
