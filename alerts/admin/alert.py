"""The list of alerts, the page of an alert, and the actions for decisions."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from alerts.admin import decisions, labels
from alerts.admin.alert_page import alert_page
from alerts.admin.decisions import DecidableAlerts
from alerts.admin.filters import RuleFilter, StateFilter
from alerts.models import Alert
from alerts.models.alert import DatedAlert
from alerts.operator_decisions import Decision
from opsconsole.kit.display import age

# The most urgent alerts come first.
URGENCY = Case(
    When(resolved_at__isnull=False, then=Value(3)),
    When(state="firing", severity="critical", then=Value(0)),
    When(state="firing", then=Value(1)),
    default=Value(2),
    output_field=IntegerField(),
)


@admin.register(Alert)
class AlertAdmin(DecidableAlerts):
    when_empty = "An alert opens when a rule is broken. See under Rules what is watched, and send a test under Channels."
    missing = "There is no alert with this number. Old alerts are deleted."
    history_at = "#timeline"
    live_on = ("alerts.Alert", "alerts.Notification", "alerts.Delivery", "alerts.Attempt", "admin.LogEntry")
    list_display = (
        "title",
        "level",
        "condition",
        "value_and_threshold",
        "firing_since",
        "last_seen",
        "handler",
    )
    list_filter = (StateFilter, RuleFilter, "severity")
    sortable_by = ()
    search_fields = ("title", "fingerprint")
    search_help_text = "Title or fingerprint"
    actions = ("acknowledge_selected", "snooze_selected", "resolve_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        rows: QuerySet[Alert] = super().get_queryset(request).annotate(db_now=Now())
        return rows

    def get_ordering(self, request: HttpRequest) -> list[str | Combinable]:
        return [URGENCY.asc(), "-since", "-id"]

    @admin.display(description="severity")
    def level(self, alert: Alert) -> SafeString:
        return labels.severity(alert.severity)

    @admin.display(description="state")
    def condition(self, alert: Alert) -> SafeString:
        return labels.state(alert)

    @admin.display(description="value")
    def value_and_threshold(self, alert: Alert) -> SafeString:
        return labels.value_and_threshold(alert)

    @admin.display(description="began")
    def firing_since(self, alert: DatedAlert) -> SafeString:
        return age(alert.since, alert.db_now, suffix=" ago")

    @admin.display(description="last seen")
    def last_seen(self, alert: DatedAlert) -> SafeString:
        return age(alert.last_seen_at, alert.db_now, suffix=" ago")

    @admin.display(description="handled by")
    def handler(self, alert: Alert) -> str | None:
        return alert.handled_by or None

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        decide = path("decide/<str:decision>/", wrap(self.decide_view), name="alerts_alert_decide")
        return [decide, *super().get_urls()]

    def load(self, key: str) -> DatedAlert | None:
        return Alert.objects.annotate(db_now=Now()).filter(pk=key).first() if key.isdecimal() else None

    def page(self, request: HttpRequest, row: DatedAlert) -> HttpResponse:
        permitted = [decision for decision in Decision if self.may(request, decision)]
        context = alert_page(row, permitted, request.user)
        return self.render(request, "admin/alerts/alert.html", context)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Decision.ACKNOWLEDGE)

    def has_snooze_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Decision.SNOOZE)

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return self.may(request, Decision.RESOLVE)

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse:
        return decisions.confirm(self, request, Decision.ACKNOWLEDGE, decisions.selected_ids(queryset))

    @admin.action(description="Snooze", permissions=["snooze"])
    def snooze_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse:
        return decisions.confirm(self, request, Decision.SNOOZE, decisions.selected_ids(queryset))

    @admin.action(description="Resolve", permissions=["resolve"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> HttpResponse:
        return decisions.confirm(self, request, Decision.RESOLVE, decisions.selected_ids(queryset))

    def decide_view(self, request: HttpRequest, decision: str) -> HttpResponse:
        return decisions.view(self, request, decision)
