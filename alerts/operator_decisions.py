"""What a person decides about an alert: acknowledge it, snooze it until a time, resolve it. Each with a reason.

The write's own condition decides between two that come at once: a resolved alert is never opened again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from alerts import notify
from alerts.models import Alert
from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError

KEPT = "with the alert"
LONGEST_SNOOZE = timedelta(days=30)


class HandlingRefused(OpsConsoleError):
    """The decision can't be taken as asked; the message says what is missing."""


def acknowledge(alert_id: int, who: str, reason: str) -> bool:
    """Somebody looks after it: no reminders, until it resolves or something breaks through. False: not open."""
    reason = reasons.required(reason, HandlingRefused, KEPT)
    return _handle(alert_id, who, reason, state=Alert.State.ACKNOWLEDGED, snoozed_until=None)


def snooze(alert_id: int, until: datetime, who: str, reason: str) -> bool:
    """Not before ``until``, at most 30 days ahead: then people are reminded, if it still fires. False: not open."""
    reason = reasons.required(reason, HandlingRefused, KEPT)
    if not Alert.objects.filter(pk=alert_id).exists():
        return False
    now: datetime = Alert.objects.filter(pk=alert_id).values_list(Now(), flat=True).get()
    if not now < until <= now + LONGEST_SNOOZE:
        raise HandlingRefused("A snooze ends in the future, within 30 days.")
    return _handle(alert_id, who, reason, state=Alert.State.SNOOZED, snoozed_until=until)


def resolve(alert_id: int, who: str, reason: str) -> bool:
    """Close it by hand, and tell so. What is still wrong fires anew at the next look. False: not open."""
    reason = reasons.required(reason, HandlingRefused, KEPT)
    with transaction.atomic():
        alert = Alert.objects.open().filter(pk=alert_id).select_for_update().first()
        if alert is None:
            return False
        notify.close(
            alert,
            news=f"Resolved by hand, by {who}.",
            handled_at=Now(),
            handled_by=who,
            handled_reason=reason,
        )
        return True


def _handle(alert_id: int, who: str, reason: str, **changes: object) -> bool:
    decided = {"handled_at": Now(), "handled_by": who, "handled_reason": reason}
    return bool(Alert.objects.open().filter(pk=alert_id).update(**decided | changes))
