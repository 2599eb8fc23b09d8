"""The open alert of a fingerprint: opened, updated and resolved under its lock. ``alerts.notify`` is the interface to it.

Where no alert is open there is nothing to clear or to resolve, which ``fingerprints`` tells without a lock. An alert that opens
meanwhile is cleared by the next report, as if this one had come a moment earlier.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Now

from alerts import notification_policy, notifications, rules
from alerts.models import Alert, Rule
from alerts.models.alert import DatedAlert, Severity
from alerts.notification_policy import HeldNews, PlannedNotification
from alerts.trouble import Trouble, storable, stored_fact
from opsconsole.kit.row_locks import locked

# Opening an alert is retried if another process opens and resolves it meanwhile. That never happens this often.
MAX_TRIES = 10


def fingerprints(wanted: Collection[str]) -> QuerySet[Alert, str]:
    """Return those of these fingerprints that have an open alert."""
    return (
        Alert.objects.open().filter(fingerprint__in=wanted).order_by().values_list("fingerprint", flat=True)
    )


def fire(fingerprint: str, trouble: Trouble, rule: Rule | None) -> None:
    """Open the alert or update the open one. A rule that is switched off ends it."""
    if rule and not rule.enabled:
        resolve(fingerprint)
        return
    with transaction.atomic():
        alert = _open(fingerprint, trouble, rule)
        planned = notification_policy.next_notification(alert, trouble, alert.db_now, rule)
        _write(alert, trouble, rule, planned)


def clear(fingerprint: str, rule: Rule | None, value: float | None = None) -> bool:
    """Resolve the open alert if its problem has been away for as long as its rule says, and note since when otherwise."""
    with transaction.atomic():
        alert = _locked(fingerprint)
        if alert is None:
            return False
        value = alert.value if value is None else value
        if notification_policy.may_resolve(alert, alert.db_now, rule):
            notifications.close(alert, value=value)
            return True
        Alert.objects.filter(pk=alert.pk).update(
            value=value, clear_since=Coalesce("clear_since", Now()), unknown_since=None, unknown_why=""
        )
        return False


def resolve(fingerprint: str, *, news: str = "") -> bool:
    """Resolve the open alert at once. Return False if none is open."""
    if not fingerprints([fingerprint]).exists():
        return False
    with transaction.atomic():
        alert = _locked(fingerprint)
        if alert is None:
            return False
        notifications.close(alert, news=news)
        return True


def retell(fingerprint: str, trouble: Trouble) -> None:
    """Change the words and the value of the open alert, as far as they are given, and its facts with the labels of those given."""
    columns = {
        "title": storable(trouble.title, 300),
        "summary": storable(trouble.summary, 3_000),
        "value": trouble.value,
    }
    words: dict[str, Any] = {name: given for name, given in columns.items() if given not in {"", None}}
    with transaction.atomic():
        if trouble.facts and (alert := _locked(fingerprint)):
            newer = {fact[0]: list(fact) for fact in map(stored_fact, trouble.facts)}
            words["facts"] = [newer.get(fact[0], fact) for fact in alert.facts]
        if words:
            Alert.objects.open().filter(fingerprint=fingerprint).update(**words)


def _open(fingerprint: str, trouble: Trouble, rule: Rule | None) -> DatedAlert:
    """Return the open alert, locked, or open a new one. A constraint allows only one open alert per fingerprint."""
    for _ in range(MAX_TRIES):
        if alert := _locked(fingerprint):
            return alert
        new_alert = Alert(
            fingerprint=fingerprint,
            rule=rule.name if rule else "",
            severity=trouble.severity,
            title=trouble.title,
            **_snooze_of(fingerprint),
        )
        Alert.objects.bulk_create([new_alert], ignore_conflicts=True)
    raise RuntimeError(f"The alert {fingerprint!r} was resolved each time that it was opened.")


def _snooze_of(fingerprint: str) -> dict[str, Any]:
    """Return the fields of a snooze that has not ended. It belongs to the problem, so it outlives a resolved alert."""
    snoozed = Alert.objects.filter(fingerprint=fingerprint, snoozed_until__gt=Now()).order_by("-pk").first()
    if snoozed is None:
        return {}
    fields = ("snoozed_until", "handled_at", "handled_by", "handled_reason", "told_value", "told_severity")
    return {"state": Alert.State.SNOOZED} | {name: getattr(snoozed, name) for name in fields}


def _locked(fingerprint: str) -> DatedAlert | None:
    open_alert = Alert.objects.open().filter(fingerprint=fingerprint)
    return locked(open_alert).annotate(db_now=Now()).first()


def _write(
    alert: Alert, trouble: Trouble, rule: Rule | None, planned: PlannedNotification | HeldNews | None
) -> None:
    changes: dict[str, Any] = {
        "title": trouble.title,
        "severity": rules.severity_of(rule, Severity(trouble.severity)),
        "summary": trouble.summary,
        "value": trouble.value,
        "threshold": trouble.threshold,
        "link": trouble.link,
        "facts": [list(pair) for pair in trouble.facts],
        "links": [list(pair) for pair in trouble.links],
        "last_seen_at": Now(),
        "unknown_since": None,
        "unknown_why": "",
        "clear_since": None,
    }
    match planned:
        case PlannedNotification(kind, news, breaks_through):
            if breaks_through:
                changes |= {"state": Alert.State.FIRING, "snoozed_until": None}
            notifications.tell(alert, kind, news, **changes)
        case HeldNews(news, breaks_through):
            held = {"held_news": news, "held_breaks_through": breaks_through}
            Alert.objects.filter(pk=alert.pk).update(**changes | held)
        case None:
            Alert.objects.filter(pk=alert.pk).update(**changes)
