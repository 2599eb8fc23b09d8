"""The list of monitors, with the time of each monitor's last success."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from alerts.models import Monitor
from alerts.watch import monitor_alerts
from opsconsole.kit import audit
from opsconsole.kit.counting import plural
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import age, badge
from opsconsole.kit.durations import spell, unbroken
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import Question


@admin.register(Monitor)
class MonitorAdmin(ReadOnlyAdmin):
    list_display = ("name", "condition", "succeeded", "expected")
    fields = ("name", "condition", "succeeded", "expected")
    sortable_by = ()
    live_on = ("alerts.Monitor",)
    actions = ("forget",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Monitor]:
        rows: QuerySet[Monitor] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    @admin.display(description="state")
    def condition(self, monitor: WithAnnotations[Monitor, DbNow]) -> SafeString:
        return badge("Late", "bad") if monitor.is_late(monitor.db_now) else badge("In time", "good")

    @admin.display(description="last success")
    def succeeded(self, monitor: WithAnnotations[Monitor, DbNow]) -> SafeString:
        return age(monitor.last_ok_at, monitor.db_now, suffix=" ago")

    @admin.display(description="expected every")
    def expected(self, monitor: Monitor) -> str:
        return unbroken(spell(monitor.interval))

    def has_forget_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.forget_monitor") and self.has_view_permission(request)

    @admin.action(description="Forget", permissions=["forget"])
    @transaction.atomic
    def forget(self, request: HttpRequest, queryset: QuerySet[Monitor]) -> HttpResponse | None:
        """Forget monitors that no longer run, which would be late forever. A success brings a monitor back."""
        selected = list(locked(queryset, of=("self",)))
        question = Question(
            action="forget",
            title="Forget monitors?",
            button=f"Forget {plural(len(selected), 'the monitor')}",
            seen=lambda monitor: {"expected every": monitor.interval},
            consequence="The console no longer alerts when a forgotten monitor is late. A monitor that succeeds again comes "
            "back by itself.",
        )
        reason = self.ask_why(request, question, [(monitor, monitor.name) for monitor in selected])
        if not isinstance(reason, str):
            return reason
        audit.log(request.user, selected, "Forgotten.", why=reason)
        queryset.delete()
        monitor_alerts.judge()
        messages.success(request, f"Forgotten: {', '.join(monitor.name for monitor in selected)}.")
        return None
