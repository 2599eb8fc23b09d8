"""Judging a figure by its rule, and changing a rule. The judgement is pure; ``alerts.notify`` acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from django.db.models.functions import Now

from alerts.catalog import KINDS
from alerts.models import Rule
from alerts.models.alert import Severity
from opsconsole.kit import reasons
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError

SHORTEST_REMINDER = timedelta(minutes=5)
LONGEST_REMINDER = timedelta(days=30)


class UnknownRule(OpsConsoleError):
    """A figure was measured for a rule that is not in ``alerts.catalog``."""


class RuleRefused(OpsConsoleError):
    """A rule can't be changed as asked; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a rule is to be. ``threshold`` None only where the rule has none of its own."""

    enabled: bool
    threshold: float | None
    hysteresis: float
    severity: str
    reminder_interval: timedelta


class Judgement(Enum):
    WRONG = auto()
    WELL = auto()
    # Not above the threshold, nor far enough below it: whatever was the case still is.
    BETWEEN = auto()


def named(name: str) -> Rule:
    """The rule as it stands. Raises ``UnknownRule``."""
    if name not in KINDS:
        raise UnknownRule(f"There is no rule '{name}'. Rules: {', '.join(sorted(KINDS))}.")
    return Rule.objects.filter(pk=name).first() or KINDS[name].as_rule()


def behind(fingerprint: str) -> Rule | None:
    """The rule that an alert's fingerprint names: 'dlq_not_empty:default' belongs to 'dlq_not_empty'."""
    name = fingerprint.partition(":")[0].replace("-", "_")
    return named(name) if name in KINDS else None


def all_by_name() -> dict[str, Rule]:
    """Every rule as it stands."""
    stored = Rule.objects.in_bulk()
    return {name: stored.get(name) or kind.as_rule() for name, kind in KINDS.items()}


def severity_of(rule: Rule | None, said: Severity) -> Severity:
    """What an operator made of the rule counts more than what a caller says; else the caller knows better."""
    if rule and rule.severity != KINDS[rule.name].severity:
        return Severity(rule.severity)
    return said


def title_of(name: str, scope: str = "") -> str:
    """What the rule is about: "Dead letter queue can't be read (default)"."""
    return f"{KINDS[name].title} ({scope})" if scope else KINDS[name].title


def judge(rule: Rule, value: float) -> Judgement:
    if not rule.enabled or rule.threshold is None:
        return Judgement.WELL
    if value > rule.threshold:
        return Judgement.WRONG
    return Judgement.WELL if value <= rule.threshold - rule.hysteresis else Judgement.BETWEEN


def change(name: str, wish: Wish, who: str, reason: str) -> Rule:
    """Make the rule as wished. Raises ``RuleRefused``: no reason, or numbers that can't be meant."""
    rule = named(name)
    reason = reasons.required(reason, RuleRefused)
    _refuse(rule, wish)
    stored = Rule(
        name=name,
        enabled=wish.enabled,
        threshold=wish.threshold if rule.threshold is not None else None,
        hysteresis=wish.hysteresis,
        severity=Severity(wish.severity),
        reminder_interval=wish.reminder_interval,
        changed_at=Now(),
        changed_by=who,
        reason=reason,
    )
    fields = [field.name for field in Rule._meta.fields if field.name != "name"]  # noqa: SLF001 - documented
    Rule.objects.bulk_create([stored], update_conflicts=True, unique_fields=["name"], update_fields=fields)
    return named(name)


def _refuse(rule: Rule, wish: Wish) -> None:
    if rule.threshold is not None and (wish.threshold is None or wish.threshold < 0):
        raise RuleRefused("The threshold must be a number from 0.")
    if not 0 <= wish.hysteresis <= (wish.threshold or 0):
        raise RuleRefused("The hysteresis must be from 0 up to the threshold: else it would never resolve.")
    if not SHORTEST_REMINDER <= wish.reminder_interval <= LONGEST_REMINDER:
        raise RuleRefused("The reminder interval must be from 5 minutes to 30 days.")


def difference(before: Rule, after: Rule) -> str:
    """What a change changed, in words for the audit: "threshold 5 to 8, severity warning to critical"."""
    names = ("enabled", "threshold", "hysteresis", "severity", "reminder_interval")
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in names]
    changed = [
        f"{name.replace('_', ' ')} {_shown(old)} to {_shown(new)}" for name, old, new in pairs if old != new
    ]
    return ", ".join(changed) or "nothing"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return spell(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
