"""Rules: looking them up, judging a value by a rule, and changing a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from django.db import connection
from django.db.models.functions import Now

from alerts.catalog import RULES
from alerts.models import Rule
from alerts.models.alert import Severity
from opsconsole.kit import reasons
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.row_locks import limit_waits

SHORTEST_REMINDER = timedelta(minutes=5)
LONGEST_REMINDER = timedelta(days=30)
LONGEST_KEEP_FIRING = timedelta(days=1)
LONGEST_NEWS_INTERVAL = timedelta(days=1)


class UnknownRule(OpsConsoleError):
    """There is no rule with the given name in ``alerts.catalog``."""


class RuleRefused(OpsConsoleError):
    """The rule was not changed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RuleSettings:
    """The settings of a rule. ``threshold`` is None if the rule has no threshold of its own."""

    enabled: bool
    threshold: float | None
    hysteresis: float
    severity: str
    reminder_interval: timedelta
    keep_firing_for: timedelta
    news_interval: timedelta


class Judgement(Enum):
    ABOVE = auto()
    BELOW = auto()
    # Neither above the threshold nor far enough below it. An open alert stays open, and no new one is opened.
    BETWEEN = auto()


def by_name(name: str) -> Rule:
    """Return the rule with its current settings. Raise ``UnknownRule`` if there is none."""
    default = by_default(name)
    return Rule.objects.filter(pk=name).first() or default


def by_default(name: str) -> Rule:
    """Return the rule as nobody has changed it. Raise ``UnknownRule`` if there is none."""
    if name not in RULES:
        raise UnknownRule(f"There is no rule '{name}'. Rules: {', '.join(sorted(RULES))}.")
    return RULES[name].default_rule()


def locked_by_name(name: str) -> Rule:
    """Return the rule, such that nobody else changes it until the transaction ends. It may have no row that could be locked."""
    limit_waits()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.RULES])
    return by_name(name)


def for_fingerprint(fingerprint: str) -> Rule | None:
    """Return the rule of an alert's fingerprint: 'dlq_not_empty:default' belongs to 'dlq_not_empty'."""
    name = fingerprint.partition(":")[0].replace("-", "_")
    return by_name(name) if name in RULES else None


def all_by_name() -> dict[str, Rule]:
    """Return all rules with their current settings."""
    return with_defaults(Rule.objects.all())


def with_defaults(rows: Iterable[Rule]) -> dict[str, Rule]:
    """Return all rules, given those that are stored."""
    stored = {row.name: row for row in rows}
    return {name: stored.get(name) or definition.default_rule() for name, definition in RULES.items()}


def severity_of(rule: Rule | None, severity: Severity) -> Severity:
    """Return the severity of an alert: the rule's if an operator changed it, otherwise the one that the caller gives."""
    if rule and rule.severity != RULES[rule.name].severity:
        return Severity(rule.severity)
    return severity


def title_of(name: str, scope: str = "") -> str:
    """Return the title of an alert of this rule, such as "Dead letter queue can't be read (default)"."""
    return f"{RULES[name].title} ({scope})" if scope else RULES[name].title


def judge(rule: Rule, value: float) -> Judgement:
    """Judge a value. A disabled rule, and one without a threshold, counts every value as below."""
    if not rule.enabled or rule.threshold is None:
        return Judgement.BELOW
    if value > rule.threshold:
        return Judgement.ABOVE
    return Judgement.BELOW if value <= rule.threshold - rule.hysteresis else Judgement.BETWEEN


def change(name: str, settings: RuleSettings, who: str, reason: str) -> Rule:
    """Change the settings of a rule. Raise ``RuleRefused`` if the reason is missing or a number is not valid."""
    rule = by_name(name)
    reason = reasons.required(reason, RuleRefused)
    _validate(rule, settings)
    stored = Rule(
        name=name,
        enabled=settings.enabled,
        threshold=settings.threshold if rule.threshold is not None else None,
        hysteresis=settings.hysteresis,
        severity=Severity(settings.severity),
        reminder_interval=settings.reminder_interval,
        keep_firing_for=settings.keep_firing_for,
        news_interval=settings.news_interval,
        changed_at=Now(),
        changed_by=who,
        reason=reason,
    )
    fields = [field.name for field in Rule._meta.fields if field.name != "name"]  # noqa: SLF001 - documented
    Rule.objects.bulk_create([stored], update_conflicts=True, unique_fields=["name"], update_fields=fields)
    return by_name(name)


def _validate(rule: Rule, settings: RuleSettings) -> None:
    if rule.threshold is not None and (settings.threshold is None or settings.threshold < 0):
        raise RuleRefused("The threshold must be 0 or more.")
    if not 0 <= settings.hysteresis <= (settings.threshold or 0):
        raise RuleRefused(
            "The hysteresis must be between 0 and the threshold. Otherwise, no alert would ever resolve."
        )
    if not SHORTEST_REMINDER <= settings.reminder_interval <= LONGEST_REMINDER:
        raise RuleRefused("The reminder interval must be between 5 minutes and 30 days.")
    if not timedelta(0) <= settings.keep_firing_for <= LONGEST_KEEP_FIRING:
        raise RuleRefused("An alert can keep firing for at most 1 day.")
    if not timedelta(0) <= settings.news_interval <= LONGEST_NEWS_INTERVAL:
        raise RuleRefused("The time between updates must be at most 1 day.")


def difference(before: Rule, after: Rule) -> str:
    """Describe a change for the audit log, such as "threshold 5 to 8, severity warning to critical"."""
    names = (
        "enabled",
        "threshold",
        "hysteresis",
        "severity",
        "reminder_interval",
        "keep_firing_for",
        "news_interval",
    )
    values = [(name, getattr(before, name), getattr(after, name)) for name in names]
    changes = [
        f"{name.replace('_', ' ')} {_as_text(old)} to {_as_text(new)}"
        for name, old, new in values
        if old != new
    ]
    return ", ".join(changes) or "nothing"


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, timedelta):
        return spell(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
