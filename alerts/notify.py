"""The interface of alerts for other apps: report a problem, its end, an unknown state, or a measured value.

All functions are idempotent and join the caller's transaction, so that an alert and its notification commit together
with their cause (I7). ``alerts.sending.delivery`` sends the notifications.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from alerts import notification_policy, notifications, rules
from alerts.models import Alert, Gauge, Monitor, Rule
from alerts.models.alert import DatedAlert, Severity
from alerts.notification_policy import HeldNews, PlannedNotification
from alerts.rules import Judgement
from alerts.trouble import UNTITLED, Fact, Trouble, storable
from opsconsole.kit.row_locks import locked

# Trouble, Fact and UNTITLED are part of the interface, since other apps import only this module.
__all__ = [
    "UNTITLED",
    "Fact",
    "Trouble",
    "clear",
    "end_other_scopes",
    "fire",
    "last_told",
    "measure",
    "monitor_ok",
    "resolve",
    "unknown",
]

# Opening an alert is retried if another process opens and resolves it meanwhile. That never happens this often.
MAX_TRIES = 10


def fire(fingerprint: str, trouble: Trouble) -> None:
    """Open an alert, or update the open one. An acknowledged alert stays acknowledged.

    Raise ``ValueError`` for an unknown severity.
    """
    _fire(fingerprint, trouble.stored(), rules.for_fingerprint(fingerprint))


def clear(fingerprint: str) -> bool:
    """Report that the problem is away at present. Return whether that resolved the open alert.

    The alert resolves as soon as the problem has stayed away for as long as its rule says ("keep firing for").
    """
    return _clear(fingerprint, rules.for_fingerprint(fingerprint))


def resolve(fingerprint: str, *, news: str = "") -> bool:
    """Resolve the open alert at once, because the problem has ended for certain, and create a notification.

    ``news`` says why. Return False if no alert is open.
    """
    with transaction.atomic():
        alert = _locked(fingerprint)
        if alert is None:
            return False
        notifications.close(alert, news=news)
        return True


def end_other_scopes(rule: str, scopes: Collection[str], *, news: str) -> None:
    """Resolve the rule's alerts about all scopes but these, because nobody measures those any more; ``news`` says why.

    What was measured of them is forgotten, so that it does not stay unknown for ever.
    """
    kept = [f"{rule}:{scope}" for scope in scopes]
    with transaction.atomic():
        others = Alert.objects.open().filter(fingerprint__startswith=f"{rule}:").exclude(fingerprint__in=kept)
        for fingerprint in others.values_list("fingerprint", flat=True):
            resolve(fingerprint, news=news)
        gauges = Gauge.objects.filter(rule=rule, fingerprint__startswith=f"{rule}:")
        gauges.exclude(fingerprint__in=kept).delete()


def unknown(fingerprint: str, *, why: str) -> None:
    """Note in the open alert that its value can't be read at present. This never resolves an alert (I8)."""
    Alert.objects.open().filter(fingerprint=fingerprint).update(
        unknown_since=Coalesce("unknown_since", Now()), unknown_why=storable(why, 1_000), clear_since=None
    )


def measure(
    rule: str,
    value: float | None,
    trouble: Trouble = UNTITLED,
    *,
    scope: str = "",
    why_unknown: str = "",
) -> None:
    """Judge a value by a rule: fire an alert above the threshold, and resolve it far enough below.

    Each ``scope``, such as the name of a queue, has its own alert. A ``value`` of None means that it could not be read,
    for the reason ``why_unknown``. Nothing is resolved then, and a value that stays unknown for long raises an alert of
    its own. Raise ``rules.UnknownRule`` if there is no such rule.
    """
    applied = rules.by_name(rule)
    fingerprint = f"{rule}:{scope}" if scope else rule
    complete = replace(
        trouble,
        title=trouble.title or rules.title_of(rule, scope),
        severity=trouble.severity or applied.severity,
        value=value,
        threshold=applied.threshold,
    )
    with transaction.atomic():
        # NaN says as little as None.
        if value is None or math.isnan(value):
            _record_unknown(fingerprint, rule, scope, why_unknown)
            return
        _record_value(fingerprint, rule, scope, value)
        match rules.judge(applied, value):
            case Judgement.ABOVE:
                _fire(fingerprint, complete.stored(), applied)
            case Judgement.BELOW:
                _clear(fingerprint, applied, value)
            case Judgement.BETWEEN:
                _update_value(fingerprint, value)


def last_told(fingerprint: str) -> datetime | None:
    """Return when the last message about the open alert was created; None where none was."""
    return Alert.objects.open().filter(fingerprint=fingerprint).values_list("told_at", flat=True).first()


def monitor_ok(name: str, interval: timedelta) -> None:
    """Record that the monitor, which must succeed once per ``interval``, succeeded now."""
    row = Monitor(name=name, interval=interval, last_ok_at=Now())
    Monitor.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["name"], update_fields=["interval", "last_ok_at"]
    )


def _fire(fingerprint: str, trouble: Trouble, rule: Rule | None) -> None:
    if rule and not rule.enabled:
        resolve(fingerprint)
        return
    with transaction.atomic():
        alert = _open(fingerprint, trouble, rule)
        planned = notification_policy.next_notification(alert, trouble, alert.db_now, rule)
        _write(alert, trouble, rule, planned)


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


def _clear(fingerprint: str, rule: Rule | None, value: float | None = None) -> bool:
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


def _update_value(fingerprint: str, value: float) -> None:
    Alert.objects.open().filter(fingerprint=fingerprint).update(
        value=value, last_seen_at=Now(), unknown_since=None, unknown_why="", clear_since=None
    )


def _record_value(fingerprint: str, rule: str, scope: str, value: float) -> None:
    gauge = Gauge(fingerprint=fingerprint, rule=rule, value=value, measured_at=Now(), unknown_since=None)
    Gauge.objects.bulk_create(
        [gauge],
        update_conflicts=True,
        unique_fields=["fingerprint"],
        update_fields=["rule", "value", "measured_at", "unknown_since", "unknown_why"],
    )
    if not _is_about_unknown_values(rule):
        clear(_unknown_fingerprint(rule, scope))


def _record_unknown(fingerprint: str, rule: str, scope: str, why: str) -> None:
    """Keep the last known value, and fire an alert if the value stays unknown for long."""
    Gauge.objects.bulk_create([Gauge(fingerprint=fingerprint, rule=rule)], ignore_conflicts=True)
    gauges = Gauge.objects.filter(pk=fingerprint)
    gauges.update(unknown_since=Coalesce("unknown_since", Now()), unknown_why=storable(why, 1_000))
    unknown(fingerprint, why=why)
    if _is_about_unknown_values(rule):
        return
    gauge = gauges.annotate(unknown_for=Now() - F("unknown_since")).get()
    minutes = gauge.unknown_for / timedelta(minutes=1)
    name, _, own_scope = _unknown_fingerprint(rule, scope).partition(":")
    trouble = Trouble(
        title=f"{rules.title_of(name, own_scope)} for {minutes:.0f} minutes",
        summary=why,
        facts=[("Last known", f"{gauge.value:,g}" if gauge.value is not None else "never read")],
    )
    measure(name, minutes, trouble, scope=own_scope)


def _unknown_fingerprint(rule: str, scope: str) -> str:
    """Return the fingerprint of the alert that a value is unknown."""
    if rule == "dlq_not_empty":
        return f"dlq_unreadable:{scope}" if scope else "dlq_unreadable"
    return f"gauge_unreadable:{rule}" + (f":{scope}" if scope else "")


def _is_about_unknown_values(rule: str) -> bool:
    return rule in {"dlq_unreadable", "gauge_unreadable"}
