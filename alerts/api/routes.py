"""Alerts: list, show, acknowledge, snooze, resolve."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now
from ninja import Query, Router

from alerts import operator_decisions
from alerts.api import schemas
from alerts.models import Alert
from alerts.operator_decisions import Decision
from alerts.trouble import shown_facts
from opsconsole.kit import addresses, keyset, operator_api, reasons
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.problems import Problem
from opsconsole.kit.row_locks import locked
from opsconsole.kit.storable import LARGEST_INTEGER

VIEW = "alerts.view_alert"
ONE = "operator/alerts/{int:alert_id}"

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


@reading.get("operator/alerts", response=schemas.AlertList, operation_id="list_alerts", summary="List alerts")
def list_alerts(request: OperatorRequest, query: Query[schemas.AlertsQuery]) -> Any:
    """Return alerts newest first; without `state` the open ones."""
    request.auth.require(VIEW)
    operator_api.refuse_unknown(request, schemas.AlertsQuery)
    after = operator_api.read_cursor(query, _number)
    wanted = {name: value for name in ("severity", "rule") if (value := getattr(query, name))}
    rows = list(keyset.older(_in_state(query.state).filter(**wanted), "since", after)[: query.limit + 1])
    return {
        "alerts": [item(alert) for alert in rows[: query.limit]],
        "next": operator_api.next_text(query, keyset.next_of(rows, "since", query.limit)),
    }


@reading.get(ONE, response=schemas.ShownAlert, operation_id="show_alert", summary="Show an alert")
def show_alert(request: OperatorRequest, alert_id: int) -> Any:
    """Return the alert with its facts, and what this key may decide about it."""
    request.auth.require(VIEW)
    alert = _load(Alert.objects.all(), alert_id)
    decisions = [decision for decision in Decision if request.auth.has_perm(_permission(decision))]
    return {
        "alert": item(alert),
        "facts": [{"label": label, "text": str(text)} for label, text in shown_facts(alert.facts)],
        "decisions": decisions if alert.open else [],
    }


@operating.post(
    f"{ONE}/acknowledge",
    response=schemas.AlertChanged,
    operation_id="acknowledge_alert",
    summary="Acknowledge an alert",
)
def acknowledge_alert(request: OperatorRequest, alert_id: int, change: schemas.Acknowledge) -> Any:
    """No reminders are sent until it resolves, unless it becomes more severe.

    409 with `reason` `changed`: somebody decided since you looked. `refused`: it is resolved.
    """
    return _decide(request, Decision.ACKNOWLEDGE, alert_id, change)


@operating.post(
    f"{ONE}/snooze", response=schemas.AlertChanged, operation_id="snooze_alert", summary="Snooze an alert"
)
def snooze_alert(request: OperatorRequest, alert_id: int, change: schemas.Snooze) -> Any:
    """No reminders are sent for these minutes, unless it becomes more severe."""
    return _decide(request, Decision.SNOOZE, alert_id, change)


@operating.post(
    f"{ONE}/resolve", response=schemas.AlertChanged, operation_id="resolve_alert", summary="Resolve an alert"
)
def resolve_alert(request: OperatorRequest, alert_id: int, change: Change) -> Any:
    """The channels are told. If the problem persists, the next measurement opens a new alert."""
    return _decide(request, Decision.RESOLVE, alert_id, change)


def _in_state(state: str) -> QuerySet[Alert]:
    match state:
        case "open":
            return Alert.objects.open()
        case "unknown":
            return Alert.objects.unknown()
        case "all":
            return Alert.objects.all()
    return Alert.objects.filter(state=state)


def _decide(
    request: OperatorRequest, decision: Decision, alert_id: int, change: Change | schemas.Acknowledge
) -> schemas.AlertChanged:
    request.auth.require(VIEW, _permission(decision))
    alert = _load(locked(Alert.objects.all()), alert_id)
    seen = item(alert).model_dump(mode="json")
    operator_api.refuse_if_changed(change.version, seen)
    until = _end(alert, change.minutes) if isinstance(change, schemas.Snooze) else None
    who, reason = request.auth.name, reasons.optional(change.reason)
    if not operator_decisions.carry_out(decision, alert.pk, who, reason, until):
        raise operator_api.refused("The alert is resolved", seen)
    did = operator_decisions.did(decision, until)
    operator_api.log(request, [alert], did, why=reason)
    return schemas.AlertChanged(did=did, alert=item(_load(Alert.objects.all(), alert_id)))


def _end(alert: Alert, minutes: int) -> datetime:
    """Return the end of a snooze by the database's clock, by which it ends."""
    now: datetime = Alert.objects.filter(pk=alert.pk).values_list(Now(), flat=True).get()
    return now + timedelta(minutes=minutes)


def _permission(decision: Decision) -> str:
    return f"alerts.{decision}_alert"


def _load(alerts: QuerySet[Alert], alert_id: int) -> Alert:
    alert = alerts.filter(pk=alert_id).first() if alert_id <= LARGEST_INTEGER else None
    if alert is None:
        raise Problem(
            404, "There is no alert with this number. Old alerts are deleted.", reason="unknown_alert"
        )
    return alert


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def item(alert: Alert) -> schemas.AlertItem:
    # What the console itself changes is no reason to refuse a decision.
    decided = (alert.handled_by, alert.handled_at, alert.snoozed_until, alert.resolved_at)
    return schemas.AlertItem(
        number=alert.pk,
        fingerprint=alert.fingerprint,
        rule=alert.rule,
        severity=alert.severity,
        state=alert.state,
        title=alert.title,
        summary=alert.summary,
        value=alert.value,
        threshold=alert.threshold,
        since=alert.since,
        last_seen_at=alert.last_seen_at,
        unknown_since=alert.unknown_since,
        clear_since=alert.clear_since,
        snoozed_until=alert.snoozed_until,
        resolved_at=alert.resolved_at,
        handled_by=alert.handled_by,
        handled_reason=alert.handled_reason,
        link=addresses.mounted(alert.link),
        version=operator_api.version_of(alert, *decided),
    )
