from __future__ import annotations

from django.contrib import admin

from alerts.models import Alert
from opsconsole.readonly import ReadOnlyAdmin


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = [
        "title",
        "severity",
        "state",
        "value",
        "threshold",
        "since",
        "last_seen_at",
        "resolved_at",
    ]
    list_filter = ["state", "severity"]
