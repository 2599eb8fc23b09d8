"""Acknowledging, snoozing and resolving alerts: the confirmation page, its form, and the result. Only POST changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from alerts import operator_decisions
from alerts.admin import labels
from alerts.models import Alert
from alerts.models.alert import DatedAlert
from alerts.operator_decisions import PAST_TENSE, Decision, DecisionRefused
from opsconsole.kit import audit, form_versions
from opsconsole.kit.counting import exactly
from opsconsole.kit.form_versions import Version
from opsconsole.kit.read_only_admin import PageAdmin
from opsconsole.kit.reasons import ReasonField, ReasonForm
from opsconsole.kit.row_locks import locked

MAX_ALERTS = 200


EXPLANATIONS = {
    Decision.ACKNOWLEDGE: "You handle the alert: no reminders are sent until it resolves. You still hear of new failure "
    "groups, of a tenfold increase and of a higher severity.",
    Decision.SNOOZE: "No reminders are sent until the time that you choose, even if the alert resolves and fires again. "
    "If it fires then, a reminder is sent. You still hear of new failure groups, of a tenfold increase and of a higher severity.",
    Decision.RESOLVE: "The alert is resolved manually, and the channels are notified. If the problem persists, the next "
    "measurement opens a new alert.",
}


class DecisionForm(ReasonForm):
    reason = ReasonField(operator_decisions.KEPT, rows=2, autofocus=True)


class AcknowledgeForm(ReasonForm):
    """Who answers at night on a phone need not type: nothing but reminders changes."""

    reason = ReasonField(
        operator_decisions.KEPT,
        rows=2,
        required=False,
        help_text="May stay empty. Kept with the alert, beside your name.",
    )


class SnoozeForm(AcknowledgeForm):
    OTHER = "other"
    length = forms.ChoiceField(
        label="Until",
        initial="60",
        widget=forms.RadioSelect,
        choices=[
            ("60", "in 1 hour"),
            ("240", "in 4 hours"),
            ("720", "in 12 hours"),
            ("1440", "in 24 hours"),
            (OTHER, "the time below"),
        ],
    )
    until = forms.DateTimeField(
        label="Time (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )
    field_order = ("length", "until", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("length") == self.OTHER and not cleaned.get("until") and "until" not in self.errors:
            self.add_error("until", "Enter the time at which the snooze ends.")
        return cleaned

    def end(self) -> datetime:
        if self.cleaned_data["length"] == self.OTHER:
            until: datetime = self.cleaned_data["until"]
            return until
        now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
        return now + timedelta(minutes=int(self.cleaned_data["length"]))


class DecidableAlerts(PageAdmin[DatedAlert]):
    """An admin of alerts that knows the permission for each decision."""

    def may(self, request: HttpRequest, decision: Decision) -> bool:
        return request.user.has_perm(f"alerts.{decision}_alert") and self.has_view_permission(request)


def selected_ids(alerts: QuerySet[Alert]) -> list[int]:
    return list(alerts.values_list("pk", flat=True)[:MAX_ALERTS])


def view(admin: DecidableAlerts, request: HttpRequest, name: str) -> HttpResponse:
    """Show the confirmation page for the alerts in ``?id=``, or carry out the decision on POST."""
    if name not in Decision.values:
        raise Http404
    decision = Decision(name)
    if not admin.may(request, decision):
        raise PermissionDenied
    parameters = request.POST if request.method == "POST" else request.GET
    ids = [int(value) for value in parameters.getlist("id") if value.isdecimal()][:MAX_ALERTS]
    if request.method == "POST":
        return _decide(admin, request, decision, ids)
    return confirm(admin, request, decision, ids)


def confirm(
    admin: DecidableAlerts,
    request: HttpRequest,
    decision: Decision,
    ids: Sequence[int],
    form: ReasonForm | None = None,
) -> HttpResponse:
    """Show the alerts, and ask for a reason."""
    alerts = list(Alert.objects.filter(pk__in=ids).annotate(db_now=Now()))
    open_alerts = [alert for alert in alerts if alert.open]
    question = f"{decision.label} {exactly(len(open_alerts), 'alert')}?"
    context = {
        "title": question if open_alerts else f"{decision.label}: nothing to do",
        "decision": decision,
        "explanation": EXPLANATIONS[decision],
        "rows": [(alert, labels.severity(alert.severity), labels.state(alert)) for alert in open_alerts],
        "closed": len(alerts) - len(open_alerts),
        "form": form or _form(decision, version=_version(open_alerts)),
    }
    return admin.render(request, "admin/alerts/decide.html", context)


_FORMS: dict[Decision, type[ReasonForm]] = {
    Decision.ACKNOWLEDGE: AcknowledgeForm,
    Decision.SNOOZE: SnoozeForm,
    Decision.RESOLVE: DecisionForm,
}


def _form(decision: Decision, data: Any = None, *, version: Version) -> ReasonForm:
    return _FORMS[decision](data, version=version)


def _version(alerts: Sequence[Alert]) -> Version:
    """Return what people decided about these alerts. What the console itself changes is no reason to refuse a decision."""
    # By number: a title counts, such as the dead letters of an alert, and changes with every check.
    values = {
        f"Alert {alert.pk}: {name}": value
        for alert in alerts
        for name, value in (
            ("handled by", alert.handled_by),
            ("since", alert.handled_at),
            ("snoozed until", alert.snoozed_until),
        )
    }
    return form_versions.of(alerts, values)


def _decide(
    admin: DecidableAlerts, request: HttpRequest, decision: Decision, ids: Sequence[int]
) -> HttpResponse:
    with transaction.atomic():
        alerts = list(locked(Alert.objects.filter(pk__in=ids).order_by("pk")))
        form = _form(decision, request.POST, version=_version(alerts))
        if not form.is_valid():
            return confirm(admin, request, decision, ids, form)
        try:
            with transaction.atomic():
                changed_ids = [pk for pk in ids if _carry_out(request, decision, pk, form)]
                rows = Alert.objects.filter(pk__in=changed_ids)
                audit.log(request.user, rows, _did(decision, form), why=form.cleaned_data["reason"])
        except DecisionRefused as error:
            form.add_error("until" if decision == Decision.SNOOZE else "reason", str(error))
            return confirm(admin, request, decision, ids, form)
    _report(request, decision, len(changed_ids), len(ids) - len(changed_ids))
    if len(ids) == 1:
        return redirect("admin:alerts_alert_change", ids[0])
    return redirect("admin:alerts_alert_changelist")


def _carry_out(request: HttpRequest, decision: Decision, pk: int, form: ReasonForm) -> bool:
    until = form.end() if isinstance(form, SnoozeForm) else None
    who, reason = request.user.get_username(), form.cleaned_data["reason"]
    return operator_decisions.carry_out(decision, pk, who, reason, until)


def _did(decision: Decision, form: ReasonForm) -> str:
    return operator_decisions.did(decision, form.end() if isinstance(form, SnoozeForm) else None)


def _report(request: HttpRequest, decision: Decision, changed: int, unchanged: int) -> None:
    if changed:
        messages.success(request, f"{exactly(changed, 'alert')} {PAST_TENSE[decision]}.")
    if unchanged:
        those = exactly(unchanged, "alert was", "alerts were")
        messages.warning(request, f"{those} resolved in the meantime and not changed.")
