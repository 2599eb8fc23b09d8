"""Lists that show ages by the database's clock."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from opsconsole.kit.capped_paginator import CappedPaginator
from opsconsole.kit.read_only_admin import ReadOnlyAdmin


class AgedAdmin(ReadOnlyAdmin):
    """A list whose rows have ``db_now``, the database's time, so that ages don't depend on this host's clock."""

    sortable_by: ClassVar[tuple[str, ...]] = ()
    paginator = CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(db_now=Now())
        return rows
