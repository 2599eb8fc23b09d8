"""The list of rules, and the page of a rule with its latest values and the form that changes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from alerts import rules, runbooks
from alerts.admin import labels
from alerts.catalog import RULES
from alerts.models import Alert, Gauge, Rule
from alerts.models.alert import Severity
from alerts.rules import RuleRefused, RuleSettings
from opsconsole.kit import audit, form_versions
from opsconsole.kit.display import NOTHING, age, badge
from opsconsole.kit.durations import spell, unbroken
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.reasons import ReasonField, ReasonForm

CHANGES_SHOWN = 20
GAUGES_SHOWN = 50


class Number(forms.FloatField):
    """A number that may have decimals; a whole one is shown without."""

    widget = forms.NumberInput(attrs={"step": "any"})

    def prepare_value(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value


class RuleForm(ReasonForm):
    enabled = forms.BooleanField(required=False)
    threshold = Number(min_value=0)
    hysteresis = Number(
        min_value=0,
        help_text="The alert resolves only when the value has fallen this far below the threshold.",
    )
    severity = forms.ChoiceField(choices=[(each.value, each.label) for each in Severity])
    keep_minutes = Number(
        label="Keep firing for (minutes)",
        min_value=0,
        help_text="The alert resolves only when the problem has stayed away for this long, so that a value that goes up and "
        "down is one alert.",
    )
    remind_hours = Number(label="Send a reminder every (hours)", min_value=0)
    news_minutes = Number(
        label="Send updates at most every (minutes)",
        min_value=0,
        help_text="News that comes sooner waits. Tenfold growth and a higher severity are sent at once.",
    )
    reason = ReasonField(rows=2)
    field_order = (
        "enabled",
        "threshold",
        "hysteresis",
        "severity",
        "keep_minutes",
        "remind_hours",
        "news_minutes",
        "reason",
    )

    def __init__(self, rule: Rule, data: Any = None) -> None:
        initial = {
            "enabled": rule.enabled,
            "threshold": rule.threshold,
            "hysteresis": rule.hysteresis,
            "severity": rule.severity,
            "keep_minutes": round(rule.keep_firing_for / timedelta(minutes=1), 3),
            "remind_hours": round(rule.reminder_interval / timedelta(hours=1), 3),
            "news_minutes": round(rule.news_interval / timedelta(minutes=1), 3),
        }
        super().__init__(data, initial=initial, version=form_versions.of([rule], initial))
        if rule.threshold is None:
            del self.fields["threshold"], self.fields["hysteresis"]

    def rule_settings(self) -> RuleSettings:
        fields = self.cleaned_data
        return RuleSettings(
            enabled=fields["enabled"],
            threshold=fields.get("threshold"),
            hysteresis=fields.get("hysteresis", 0.0),
            severity=fields["severity"],
            # Capped to what a timedelta can hold. rules.change refuses values that are too high.
            reminder_interval=timedelta(hours=min(fields["remind_hours"], 10_000)),
            keep_firing_for=timedelta(minutes=min(fields["keep_minutes"], 100_000)),
            news_interval=timedelta(minutes=min(fields["news_minutes"], 100_000)),
        )


@admin.register(Rule)
class RuleAdmin(PageAdmin[Rule]):
    missing = "There is no rule with this name."
    list_display = ("title", "condition", "fires_above", "level", "reminds", "changed")
    sortable_by = ()

    @admin.display(description="rule")
    def title(self, rule: Rule) -> str:
        return RULES[rule.name].title if rule.name in RULES else rule.name

    @admin.display(description="state")
    def condition(self, rule: Rule) -> SafeString:
        return badge("On", "good") if rule.enabled else badge("Off", "warning")

    @admin.display(description="threshold")
    def fires_above(self, rule: Rule) -> SafeString:
        return threshold(rule)

    @admin.display(description="severity")
    def level(self, rule: Rule) -> SafeString:
        return labels.severity(rule.severity)

    @admin.display(description="reminder every")
    def reminds(self, rule: Rule) -> str:
        return unbroken(spell(rule.reminder_interval))

    @admin.display(description="changed")
    def changed(self, rule: Rule) -> SafeString:
        if rule.changed_at is None:
            return NOTHING
        return format_html("{} by {}", age(rule.changed_at, suffix=" ago"), rule.changed_by)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        rows: QuerySet[Rule] = super().get_queryset(request).filter(pk__in=RULES)
        return rows

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        edit = path("<str:name>/edit/", wrap(self.edit_view), name="alerts_rule_edit")
        return [edit, *super().get_urls()]

    def may_change(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.change_rule") and self.has_view_permission(request)

    def load(self, key: str) -> Rule | None:
        return rules.by_name(key) if key in RULES else None

    def edit_view(self, request: HttpRequest, name: str) -> HttpResponse:
        if not self.may_change(request):
            raise PermissionDenied
        rule = self.load(name)
        if rule is None:
            raise Http404(f"There is no rule '{name}'.")
        if request.method != "POST":
            return redirect("admin:alerts_rule_change", name)
        with transaction.atomic():
            rule = rules.locked_by_name(name)
            form = RuleForm(rule, request.POST)
            if form.is_valid() and self._changed(request, rule, form):
                messages.success(request, f"The rule “{RULES[name].title}” was changed.")
                return redirect("admin:alerts_rule_change", name)
        return self.page(request, rule, form)

    def _changed(self, request: HttpRequest, rule: Rule, form: RuleForm) -> bool:
        """Change the rule, which is locked. Return False, with the reason in the form, if that is refused."""
        reason = form.cleaned_data["reason"]
        try:
            after = rules.change(rule.name, form.rule_settings(), request.user.get_username(), reason)
        except RuleRefused as error:
            form.add_error(None, str(error))
            return False
        audit.log(request.user, [after], f"Changed: {rules.difference(rule, after)}.", why=reason)
        return True

    def page(self, request: HttpRequest, row: Rule, form: RuleForm | None = None) -> HttpResponse:
        definition = RULES[row.name]
        gauges = Gauge.objects.filter(rule=row.name).annotate(db_now=Now())
        context = {
            "title": definition.title,
            "rule": row,
            "definition": definition,
            "state": self.condition(row),
            "severity": labels.severity(row.severity),
            "threshold": threshold(row),
            "keeps_firing": _spelled(row.keep_firing_for),
            "reminds": spell(row.reminder_interval),
            "news_interval": _spelled(row.news_interval),
            "gauges": [_measured(gauge, definition.unit) for gauge in gauges[:GAUGES_SHOWN]],
            "open": Alert.objects.open().filter(rule=row.name)[:GAUGES_SHOWN],
            "changes": _changes(row),
            "form": form or RuleForm(row) if self.may_change(request) else None,
            "runbook": runbooks.find(row.name),
        }
        return self.render(request, "admin/alerts/rule.html", context)


def _spelled(duration: timedelta) -> str:
    return spell(duration) if duration else "no time"


def threshold(rule: Rule) -> SafeString:
    """Return the threshold with its unit, or what decides instead."""
    definition = RULES[rule.name]
    if rule.threshold is None:
        return format_html('<span class="quiet">{}</span>', capfirst(definition.threshold_source))
    return format_html('Above {} <span class="quiet">{}</span>', f"{rule.threshold:,g}", definition.unit)


def _measured(gauge: Gauge, unit: str) -> tuple[Gauge, str, str]:
    """Return the value with what it is about, which is '' for that of the whole console, and in words."""
    about = gauge.fingerprint.partition(":")[2]
    return gauge, about, "never read" if gauge.value is None else f"{gauge.value:,g} {unit}"


def _changes(rule: Rule) -> QuerySet[LogEntry]:
    content_type = ContentType.objects.get_for_model(Rule)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=rule.pk)
    return audit.with_details(entries).order_by("-pk")[:CHANGES_SHOWN]
