"""Decisions of operators about an alert: acknowledge or snooze it, or resolve it with a reason.

The conditions of the UPDATE decide between concurrent decisions, so that a resolved alert is never opened again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models, transaction
from django.db.models.functions import Now

from alerts import notifications
from alerts.models import Alert
from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.row_locks import locked

KEPT = "with the alert"
LONGEST_SNOOZE = timedelta(days=30)


class Decision(models.TextChoices):
    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    RESOLVE = "resolve"


PAST_TENSE = {
    Decision.ACKNOWLEDGE: "acknowledged",
    Decision.SNOOZE: "snoozed",
    Decision.RESOLVE: "resolved",
}


class DecisionRefused(OpsConsoleError):
    """The alert was not changed; the message says why."""


def did(decision: Decision, until: datetime | None = None) -> str:
    """Return what the audit says about a decision; ``until`` is the end of a snooze."""
    end = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
    return f"{PAST_TENSE[decision].capitalize()}{end}."


def carry_out(
    decision: Decision, alert_id: int, who: str, reason: str, until: datetime | None = None
) -> bool:
    """Carry out the decision; ``until`` is the end of a snooze. Return False if the alert is not open."""
    if until is not None:
        return snooze(alert_id, until, who, reason)
    return (acknowledge if decision == Decision.ACKNOWLEDGE else resolve)(alert_id, who, reason)


def acknowledge(alert_id: int, who: str, reason: str) -> bool:
    """Stop reminders until the alert resolves or an update breaks through. Return False if the alert is not open.

    ``reason`` may be empty, as for a snooze: no job changes, and who answers at night should not have to type.
    """
    return _handle(
        alert_id, who, reasons.optional(reason), state=Alert.State.ACKNOWLEDGED, snoozed_until=None
    )


def snooze(alert_id: int, until: datetime, who: str, reason: str) -> bool:
    """Stop reminders until the given time, at most 30 days ahead. Return False if the alert is not open."""
    if not Alert.objects.filter(pk=alert_id).exists():
        return False
    now: datetime = Alert.objects.filter(pk=alert_id).values_list(Now(), flat=True).get()
    if not now < until <= now + LONGEST_SNOOZE:
        raise DecisionRefused("Enter an end for the snooze that is in the future, within 30 days.")
    return _handle(alert_id, who, reasons.optional(reason), state=Alert.State.SNOOZED, snoozed_until=until)


def resolve(alert_id: int, who: str, reason: str) -> bool:
    """Resolve the alert and notify the channels. Return False if the alert is not open.

    If the problem persists, the next measurement opens a new alert.
    """
    reason = reasons.required(reason, DecisionRefused, KEPT)
    with transaction.atomic():
        alert = locked(Alert.objects.open().filter(pk=alert_id)).first()
        if alert is None:
            return False
        notifications.close(
            alert,
            news=f"Resolved manually by {who}.",
            handled_at=Now(),
            handled_by=who,
            handled_reason=reason,
            # The person wants to hear of the problem if it comes back.
            snoozed_until=None,
        )
        return True


def _handle(alert_id: int, who: str, reason: str, **changes: object) -> bool:
    decision = {"handled_at": Now(), "handled_by": who, "handled_reason": reason}
    return bool(Alert.objects.open().filter(pk=alert_id).update(**decision | changes))
