"""What fires, by rule: how many alerts, and the first of them. Nobody has acknowledged or snoozed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, Count, IntegerField, Min, Q, Value, When, Window
from django.db.models.functions import RowNumber

from alerts.models import Alert
from alerts.models.alert import Severity
from opsconsole.kit.one_statement import Reading, records_of

# Rules are few, and each is named with this many of its alerts, those that harm most first, however many others fire.
READ_OF_A_RULE = 10
NUMBERS, ROWS = "firing_numbers", "firing_rows"

_READ = ("pk", "title", "severity", "rule", "fingerprint", "unknown_since", "clear_since")
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
    """The alerts of a rule that fire; '': those without one. ``alerts``: the first of them, worst and newest first.

    ``gone_number``: of how many the problem is away.
    """

    rule: str
    number: int
    severity: str = Severity.WARNING
    alerts: tuple[FiringAlert, ...] = field(default=())
    gone_number: int = 0

    @property
    def is_critical(self) -> bool:
        return self.severity == Severity.CRITICAL and not self.gone

    @property
    def gone(self) -> bool:
        """Tell whether the problems of all its alerts are away."""
        return self.gone_number == self.number


def readings() -> dict[str, Reading[Any]]:
    firing = Alert.objects.firing()
    by_rule = firing.order_by("rule").values_list("rule")
    by_harm = (_PLACE, "-since", "-pk")
    of_rule = Window(RowNumber(), partition_by="rule", order_by=by_harm)
    first = firing.annotate(number=of_rule).filter(number__lte=READ_OF_A_RULE).order_by(*by_harm)
    gone = Count("pk", filter=Q(clear_since__isnull=False))
    return {
        NUMBERS: records_of(by_rule.annotate(number=Count("pk"), worst=Min(_PLACE), gone=gone)),
        ROWS: records_of(first.values_list(*_READ)),
    }


def of_rows(read: Mapping[str, Any]) -> tuple[FiringRule, ...]:
    """Return the rules of what was read: those that harm most first, and of these the one that fired last."""
    alerts = [_named(row) for row in read[ROWS]]
    order = list(dict.fromkeys(each.rule for each in alerts))
    numbers = {rule: (number, worst, gone) for rule, number, worst, gone in read[NUMBERS]}
    return tuple(
        FiringRule(rule, number, _BY_HARM[worst], tuple(each for each in alerts if each.rule == rule), gone)
        for rule in order
        for number, worst, gone in [numbers[rule]]
    )


def _named(row: Sequence[Any]) -> FiringAlert:
    key, title, severity, rule, fingerprint, unknown_since, clear_since = row
    return FiringAlert(
        key,
        title,
        severity,
        rule,
        scope=fingerprint.partition(":")[2],
        unknown=unknown_since is not None,
        gone=clear_since is not None,
    )
