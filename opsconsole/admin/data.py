"""The page Data: what is kept for how long, what is due, what was removed, and how large tables are."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.contrib import admin
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from opsconsole.kit import one_statement
from opsconsole.kit.counting import exactly
from opsconsole.kit.one_statement import models_of
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.retention_models import DroppedRows, Removal, TableSize
from opsconsole.retention import months, sizes, subjects
from opsconsole.retention.months import Month
from opsconsole.retention.subjects import SubjectLine

REMOVALS_SHOWN = 20


@admin.register(TableSize)
class DataAdmin(OnePageAdmin):
    def show(self, request: HttpRequest) -> HttpResponse:
        read = one_statement.read(
            latest=models_of(subjects.latest_removals()),
            removals=models_of(Removal.objects.annotate(db_now=Now())[:REMOVALS_SHOWN]),
            drops=models_of(DroppedRows.objects.order_by("-pk")[:REMOVALS_SHOWN]),
        )
        lines, timeline = subjects.of_removals(read["latest"]), months.every()
        tables = [size for size in sizes.read() if size.bytes]
        context = {
            "title": "Data",
            "lines": lines,
            "lines_in_short": due_in_short(lines),
            "sizes": tables,
            "all_bytes": sum(size.bytes for size in tables),
            "growth_days": sizes.GROWTH_DAYS,
            "months": timeline,
            "months_in_short": months_in_short(timeline),
            "archive": settings.OPSCONSOLE_ARCHIVE,
            "drops": read["drops"],
            "removals": read["removals"],
        }
        return self.render(request, "admin/opsconsole/data.html", context)


def due_in_short(lines: Sequence[SubjectLine]) -> str:
    """Return in a sentence which kinds of rows the next run removes."""
    due = [line.subject.name for line in lines if line.due != 0]
    return f"Due now: {', '.join(due)}." if due else f"{exactly(len(lines), 'kind')} of rows, nothing is due."


def months_in_short(timeline: Sequence[Month]) -> str:
    due = sum(month.is_due for month in timeline)
    return f"{exactly(len(timeline), 'month')}, {due or 'none'} due."
