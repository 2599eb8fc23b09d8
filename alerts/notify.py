"""The interface of alerts for other apps: report a problem, its end, an unknown state, or a measured value.

All functions are idempotent and join the caller's transaction, so that an alert and its notification commit together
with their cause (I7). ``alerts.sending.delivery`` sends the notifications.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from alerts import open_alerts, rules
from alerts.models import Alert, Gauge, Monitor, Rule
from alerts.rules import Judgement
from alerts.trouble import UNTITLED, Fact, Trouble, storable
from opsconsole.kit import one_statement

# Trouble, Fact and UNTITLED are part of the interface, since other apps import only this module.
__all__ = [
    "UNTITLED",
    "Fact",
    "Measurements",
    "Trouble",
    "clear",
    "clear_all",
    "end_other_scopes",
    "fire",
    "last_told",
    "measure",
    "monitor_ok",
    "open_among",
    "resolve",
    "retell",
    "unknown",
]


def fire(fingerprint: str, trouble: Trouble) -> None:
    """Open an alert, or update the open one. An acknowledged alert stays acknowledged.

    Raise ``ValueError`` for an unknown severity.
    """
    open_alerts.fire(fingerprint, trouble.stored(), rules.for_fingerprint(fingerprint))


def clear(fingerprint: str) -> bool:
    """Report that the problem is away at present. Return whether that resolved the open alert.

    The alert resolves as soon as the problem has stayed away for as long as its rule says ("keep firing for").
    """
    return clear_all([fingerprint]) == 1


def clear_all(fingerprints: Collection[str]) -> int:
    """Report that none of these problems is present. Return how many open alerts that resolved."""
    return sum(open_alerts.clear(each, rules.for_fingerprint(each)) for each in open_among(fingerprints))


def resolve(fingerprint: str, *, news: str = "") -> bool:
    """Resolve the open alert at once, because the problem has ended for certain, and create a notification.

    ``news`` says why. Return False if no alert is open.
    """
    return open_alerts.resolve(fingerprint, news=news)


def retell(
    fingerprint: str,
    *,
    summary: str = "",
    title: str = "",
    value: float | None = None,
    facts: Sequence[Fact] = (),
) -> None:
    """Let the open alert say something else, without a notification; '' and None: what it says already. Nothing else changes.

    ``facts`` take the place of those with the same labels; where it has none of such a label, none is added.
    """
    open_alerts.retell(fingerprint, Trouble(title=title, summary=summary, value=value, facts=facts))


def open_among(fingerprints: Collection[str]) -> list[str]:
    """Return those of these fingerprints that have an open alert."""
    return list(open_alerts.fingerprints(fingerprints))


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
    one = Measurements([rule], scope=scope)
    one.add(rule, value, trouble, why_unknown=why_unknown)
    one.keep()


class Measurements:
    """Values of several rules, each judged as by ``measure``, with one question and one write for all that change nothing.

    Most values fire no alert, and have none to update or to end: those are only kept, together, by ``keep``. That no alert is open is
    read without locks when the measurements begin. An alert that opens meanwhile is ended by the next measurement.
    """

    def __init__(self, names: Collection[str], *, scope: str = "") -> None:
        self._scope = scope
        by_default = {name: rules.by_default(name) for name in names}
        concerned = [each for name in names for each in _fingerprints(name, scope)]
        # What ``rules.judge`` reads.
        stored = Rule.objects.filter(pk__in=names)
        known = one_statement.read(
            rules=one_statement.models_of(stored.only("name", "enabled", "threshold", "hysteresis")),
            open=one_statement.column_of(open_alerts.fingerprints(concerned)),
        )
        self._rules = by_default | {rule.name: rule for rule in known["rules"]}
        self._open = frozenset(known["open"])
        self._quiet: list[Gauge] = []

    def add(
        self, rule: str, value: float | None, trouble: Trouble = UNTITLED, *, why_unknown: str = ""
    ) -> None:
        """Judge a value, and fire, update or end its alert. See ``measure``."""
        # NaN says as little as None.
        if value is None or math.isnan(value):
            _record_unknown(rule, self._scope, why_unknown)
        elif self._is_quiet(rule, value):
            self._quiet.append(_gauge(rule, self._scope, value))
        else:
            _judge(rule, self._scope, value, trouble)

    def keep(self) -> None:
        """Keep the values that changed nothing."""
        # In an order of their own, so that two processes that measure the same can't deadlock.
        _keep_values(sorted(self._quiet, key=lambda gauge: gauge.fingerprint))
        self._quiet = []

    def _is_quiet(self, rule: str, value: float) -> bool:
        is_above = rules.judge(self._rules[rule], value) == Judgement.ABOVE
        return not is_above and self._open.isdisjoint(_fingerprints(rule, self._scope))


def last_told(fingerprint: str) -> datetime | None:
    """Return when the last message about the open alert was created; None where none was."""
    return Alert.objects.open().filter(fingerprint=fingerprint).values_list("told_at", flat=True).first()


def monitor_ok(name: str, interval: timedelta) -> None:
    """Record that the monitor, which must succeed once per ``interval``, succeeded now."""
    row = Monitor(name=name, interval=interval, last_ok_at=Now())
    Monitor.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["name"], update_fields=["interval", "last_ok_at"]
    )


def _judge(rule: str, scope: str, value: float, trouble: Trouble) -> None:
    """Keep a value, and fire, update or end the alert about it and about its being unknown, by the rule as it is now."""
    applied = rules.by_name(rule)
    fingerprint = _fingerprint(rule, scope)
    complete = replace(
        trouble,
        title=trouble.title or rules.title_of(rule, scope),
        severity=trouble.severity or applied.severity,
        value=value,
        threshold=applied.threshold,
    )
    with transaction.atomic():
        _keep_values([_gauge(rule, scope, value)])
        if not _is_about_unknown_values(rule):
            clear(_unknown_fingerprint(rule, scope))
        match rules.judge(applied, value):
            case Judgement.ABOVE:
                open_alerts.fire(fingerprint, complete.stored(), applied)
            case Judgement.BELOW:
                open_alerts.clear(fingerprint, applied, value)
            case Judgement.BETWEEN:
                _update_value(fingerprint, value)


def _update_value(fingerprint: str, value: float) -> None:
    Alert.objects.open().filter(fingerprint=fingerprint).update(
        value=value, last_seen_at=Now(), unknown_since=None, unknown_why="", clear_since=None
    )


def _gauge(rule: str, scope: str, value: float) -> Gauge:
    return Gauge(
        fingerprint=_fingerprint(rule, scope),
        rule=rule,
        value=value,
        measured_at=Now(),
        unknown_since=None,
        unknown_why="",
    )


def _keep_values(gauges: Iterable[Gauge]) -> None:
    Gauge.objects.bulk_create(
        gauges,
        update_conflicts=True,
        unique_fields=["fingerprint"],
        update_fields=["rule", "value", "measured_at", "unknown_since", "unknown_why"],
    )


@transaction.atomic
def _record_unknown(rule: str, scope: str, why: str) -> None:
    """Keep the last known value, and fire an alert if the value stays unknown for long."""
    fingerprint = _fingerprint(rule, scope)
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


def _fingerprints(rule: str, scope: str) -> list[str]:
    """Return the fingerprints of all alerts that a value of this rule may fire, update or end."""
    own = _fingerprint(rule, scope)
    return [own] if _is_about_unknown_values(rule) else [own, _unknown_fingerprint(rule, scope)]


def _fingerprint(rule: str, scope: str) -> str:
    return f"{rule}:{scope}" if scope else rule


def _unknown_fingerprint(rule: str, scope: str) -> str:
    """Return the fingerprint of the alert that a value is unknown."""
    if rule == "dlq_not_empty":
        return f"dlq_unreadable:{scope}" if scope else "dlq_unreadable"
    return f"gauge_unreadable:{rule}" + (f":{scope}" if scope else "")


def _is_about_unknown_values(rule: str) -> bool:
    return rule in {"dlq_unreadable", "gauge_unreadable"}
