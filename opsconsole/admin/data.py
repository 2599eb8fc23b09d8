"""The page Data: what is kept for how long, what is due, what was removed, and how large tables are."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse

from opsconsole.kit import one_statement
from opsconsole.kit.one_statement import models_of
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.retention_models import DroppedRows, Removal, TableSize
from opsconsole.retention import months, sizes, subjects

REMOVALS_SHOWN = 20


@admin.register(TableSize)
class DataAdmin(OnePageAdmin):
    def show(self, request: HttpRequest) -> HttpResponse:
        read = one_statement.read(
            latest=models_of(subjects.latest_removals()),
            removals=models_of(Removal.objects.annotate(db_now=Now())[:REMOVALS_SHOWN]),
            drops=models_of(DroppedRows.objects.order_by("-pk")[:REMOVALS_SHOWN]),
        )
        context = {
            "title": "Data",
            "lines": subjects.of_removals(read["latest"]),
            "sizes": [size for size in sizes.read() if size.bytes],
            "growth_days": sizes.GROWTH_DAYS,
            "months": months.every(),
            "archive": settings.OPSCONSOLE_ARCHIVE,
            "drops": read["drops"],
            "removals": read["removals"],
        }
        return self.render(request, "admin/opsconsole/data.html", context)
