"""What fires, by rule: how many alerts, and the first of them. Nobody has acknowledged or snoozed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, Count, IntegerField, Min, Value, When

from alerts.models import Alert
from alerts.models.alert import Severity
from opsconsole.kit.one_statement import Reading, models_of, records_of

# Rules are few, and each is named. This many alerts are read, those that harm most first.
ALERTS_READ = 200
NUMBERS, ROWS = "firing_numbers", "firing_rows"

_BY_HARM = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
_PLACE = Case(
    *(When(severity=severity, then=Value(place)) for place, severity in enumerate(_BY_HARM)),
    default=Value(len(_BY_HARM) - 1),
    output_field=IntegerField(),
)


@dataclass(frozen=True)
class FiringAlert:
    """One alert. ``scope``: what its rule measures, such as a queue.

    ``unknown``: whether its problem is still there can't be judged. ``gone``: it is away, and the alert resolves if it stays away.
    """

    key: int
    title: str
    severity: str = Severity.WARNING
    rule: str = ""
    scope: str = ""
    unknown: bool = False
    gone: bool = False

    @property
    def is_critical(self) -> bool:
        return self.severity == Severity.CRITICAL


@dataclass(frozen=True)
class FiringRule:
    """The alerts of a rule that fire; '': those without one. ``alerts``: the first of them, worst and newest first."""

    rule: str
    number: int
    severity: str = Severity.WARNING
    alerts: tuple[FiringAlert, ...] = field(default=())

    @property
    def is_critical(self) -> bool:
        return self.severity == Severity.CRITICAL and not self.gone

    @property
    def gone(self) -> bool:
        """Tell whether the problems of all its alerts are away."""
        return len(self.alerts) == self.number and all(each.gone for each in self.alerts)


def readings() -> dict[str, Reading[Any]]:
    firing = Alert.objects.firing()
    by_rule = firing.order_by("rule").values_list("rule")
    named = firing.order_by(_PLACE, "-since", "-pk").only(
        "title", "severity", "rule", "fingerprint", "unknown_since", "clear_since"
    )
    return {
        NUMBERS: records_of(by_rule.annotate(number=Count("pk"), worst=Min(_PLACE))),
        ROWS: models_of(named[:ALERTS_READ]),
    }


def of_rows(read: Mapping[str, Any]) -> tuple[FiringRule, ...]:
    """Return the rules of what was read: those that harm most first, and of these the one that fired last."""
    alerts = [_named(row) for row in read[ROWS]]
    order = list(dict.fromkeys(each.rule for each in alerts))
    numbers = sorted(
        read[NUMBERS],
        key=lambda each: (each[2], order.index(each[0]) if each[0] in order else len(order)),
    )
    return tuple(
        FiringRule(rule, number, _BY_HARM[worst], tuple(each for each in alerts if each.rule == rule))
        for rule, number, worst in numbers
    )


def _named(row: Alert) -> FiringAlert:
    return FiringAlert(
        row.pk,
        row.title,
        row.severity,
        row.rule,
        scope=row.fingerprint.partition(":")[2],
        unknown=row.unknown_since is not None,
        gone=row.clear_since is not None,
    )
