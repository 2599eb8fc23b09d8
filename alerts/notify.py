"""The one door to alerts: say that something is wrong, no longer wrong, or not to be known; say what was measured.

All of it is idempotent and joins the caller's transaction: an alert, and the notification that people are to
hear of it, commit with what caused them (I7). Sending is the duty of ``alerts.sending.delivery``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from alerts import notification_policy, rules
from alerts.models import Alert, Gauge, Monitor, Notification, Rule
from alerts.models.alert import DatedAlert, Severity
from alerts.notification_policy import Telling
from alerts.rules import Judgement
from alerts.trouble import UNTITLED, Trouble, storable

# What others need of alerts.
__all__ = ["UNTITLED", "Trouble", "close", "fire", "measure", "monitor_ok", "resolve", "tell", "unknown"]

# An alert may be resolved between our looking for it and opening it; more often than that it won't.
TRIES = 10


def fire(fingerprint: str, trouble: Trouble) -> None:
    """Open the alert, or refresh the one that is open; an acknowledged one stays acknowledged.

    An unknown severity raises ``ValueError``.
    """
    _fire(fingerprint, trouble.stored(), rules.for_fingerprint(fingerprint))


def resolve(fingerprint: str) -> bool:
    """Close the open alert, and tell so. False: none was open."""
    return _resolve(fingerprint)


def unknown(fingerprint: str, *, why: str) -> None:
    """What the alert stands for can't be read now: an open alert says so, and nothing is resolved (I8)."""
    Alert.objects.open().filter(fingerprint=fingerprint).update(
        unknown_since=Coalesce("unknown_since", Now()), unknown_why=storable(why, 1_000)
    )


def measure(
    rule: str,
    value: float | None,
    trouble: Trouble = UNTITLED,
    *,
    scope: str = "",
    why_unknown: str = "",
) -> None:
    """Judge a figure by the rule of that name: fire above its threshold, resolve far enough below it.

    ``scope``, such as a queue's name, makes it an alert of its own. ``value`` None: it could not be read,
    because of ``why_unknown``; nothing resolves then, and not knowing it for long is an alert itself.
    Raises ``rules.UnknownRule``.
    """
    applied = rules.by_name(rule)
    fingerprint = f"{rule}:{scope}" if scope else rule
    judged = replace(
        trouble,
        title=trouble.title or rules.title_of(rule, scope),
        severity=trouble.severity or applied.severity,
        value=value,
        threshold=applied.threshold,
    )
    with transaction.atomic():
        # What is no number says as little as none at all.
        if value is None or math.isnan(value):
            _not_known(fingerprint, rule, scope, why_unknown)
            return
        _known(fingerprint, rule, scope, value)
        match rules.judge(applied, value):
            case Judgement.WRONG:
                _fire(fingerprint, judged.stored(), applied)
            case Judgement.WELL:
                _resolve(fingerprint, value=value)
            case Judgement.BETWEEN:
                _refresh(fingerprint, value)


def monitor_ok(name: str, interval: timedelta) -> None:
    """The monitor ``name``, which must succeed every ``interval``, succeeded just now."""
    row = Monitor(name=name, interval=interval, last_ok_at=Now())
    Monitor.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["name"], update_fields=["interval", "last_ok_at"]
    )


def _fire(fingerprint: str, trouble: Trouble, rule: Rule | None) -> None:
    if rule and not rule.enabled:
        _resolve(fingerprint)
        return
    with transaction.atomic():
        alert = _open(fingerprint, trouble, rule)
        told = notification_policy.about(alert, trouble, alert.db_now, rule)
        _write(alert, trouble, rule, told)


def _open(fingerprint: str, trouble: Trouble, rule: Rule | None) -> DatedAlert:
    """The open alert of this fingerprint, locked; opened if there is none. The constraint lets one through."""
    for _ in range(TRIES):
        if alert := _locked(fingerprint):
            return alert
        opened = Alert(
            fingerprint=fingerprint,
            rule=rule.name if rule else "",
            severity=trouble.severity,
            title=trouble.title,
        )
        Alert.objects.bulk_create([opened], ignore_conflicts=True)
    raise RuntimeError(f"The alert {fingerprint!r} was resolved as often as it was opened.")


def _locked(fingerprint: str) -> DatedAlert | None:
    open_one = Alert.objects.open().filter(fingerprint=fingerprint)
    return open_one.select_for_update().annotate(db_now=Now()).first()


def _write(alert: Alert, trouble: Trouble, rule: Rule | None, told: Telling | None) -> None:
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
    }
    if told:
        changes |= {"told_at": Now(), "told_value": trouble.value}
    if told and told.breaks_through:
        changes |= {"state": Alert.State.FIRING, "snoozed_until": None}
    Alert.objects.filter(pk=alert.pk).update(**changes)
    if told:
        alert.refresh_from_db()
        tell(alert, told.kind, told.news)


def _resolve(fingerprint: str, *, value: float | None = None) -> bool:
    with transaction.atomic():
        alert = _locked(fingerprint)
        if alert is None:
            return False
        close(alert, value=alert.value if value is None else value)
        return True


def close(alert: Alert, *, news: str = "", **changes: Any) -> None:
    """Resolve an open alert that is locked by the caller's transaction, and tell so."""
    resolved = {"state": Alert.State.RESOLVED, "resolved_at": Now(), "snoozed_until": None}
    Alert.objects.filter(pk=alert.pk).update(
        **resolved | {"unknown_since": None, "unknown_why": ""} | changes
    )
    alert.refresh_from_db()
    tell(alert, Notification.Kind.RESOLVED, news)


def tell(alert: Alert, kind: Notification.Kind, news: str = "") -> None:
    """Write down that people are to hear of the alert as it is now; a sender finds it after the commit."""
    Notification.objects.create(
        alert=alert,
        kind=kind,
        news=news,
        severity=alert.severity,
        title=alert.title,
        summary=alert.summary,
        value=alert.value,
        threshold=alert.threshold,
        link=alert.link,
        facts=alert.facts,
        links=alert.links,
    )


def _refresh(fingerprint: str, value: float) -> None:
    Alert.objects.open().filter(fingerprint=fingerprint).update(
        value=value, last_seen_at=Now(), unknown_since=None, unknown_why=""
    )


def _known(fingerprint: str, rule: str, scope: str, value: float) -> None:
    gauge = Gauge(fingerprint=fingerprint, rule=rule, value=value, measured_at=Now(), unknown_since=None)
    Gauge.objects.bulk_create(
        [gauge],
        update_conflicts=True,
        unique_fields=["fingerprint"],
        update_fields=["rule", "value", "measured_at", "unknown_since", "unknown_why"],
    )
    if not _tells_of_not_knowing(rule):
        _resolve(_unreadable(rule, scope))


def _not_known(fingerprint: str, rule: str, scope: str, why: str) -> None:
    """Keep the last value, and fire when it has not been known for long."""
    Gauge.objects.bulk_create([Gauge(fingerprint=fingerprint, rule=rule)], ignore_conflicts=True)
    gauges = Gauge.objects.filter(pk=fingerprint)
    gauges.update(unknown_since=Coalesce("unknown_since", Now()), unknown_why=storable(why, 1_000))
    unknown(fingerprint, why=why)
    if _tells_of_not_knowing(rule):
        return
    gauge = gauges.annotate(unknown_for=Now() - F("unknown_since")).get()
    minutes = gauge.unknown_for / timedelta(minutes=1)
    name, _, own_scope = _unreadable(rule, scope).partition(":")
    trouble = Trouble(
        title=f"{rules.title_of(name, own_scope)} for {minutes:.0f} minutes",
        summary=why,
        facts=[("Last known", f"{gauge.value:,g}" if gauge.value is not None else "never read")],
    )
    measure(name, minutes, trouble, scope=own_scope)


def _unreadable(rule: str, scope: str) -> str:
    """The fingerprint of the alert that a figure is not known."""
    if rule == "dlq_not_empty":
        return f"dlq_unreadable:{scope}" if scope else "dlq_unreadable"
    return f"gauge_unreadable:{rule}" + (f":{scope}" if scope else "")


def _tells_of_not_knowing(rule: str) -> bool:
    return rule in {"dlq_unreadable", "gauge_unreadable"}
