"""Judging a figure by its rule, and changing a rule. The judgement is pure; ``alerts.notify`` acts on it."""

from __future__ import annotations

from enum import Enum, auto

from alerts.catalog import KINDS
from alerts.models import Rule
from opsconsole.errors import OpsConsoleError


class UnknownRule(OpsConsoleError):
    """A figure was measured for a rule that is not in ``alerts.catalog``."""


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


def title_of(name: str, scope: str = "") -> str:
    """What the rule is about: "Dead letter queue can't be read (default)"."""
    return f"{KINDS[name].title} ({scope})" if scope else KINDS[name].title


def judge(rule: Rule, value: float) -> Judgement:
    if not rule.enabled or rule.threshold is None:
        return Judgement.WELL
    if value > rule.threshold:
        return Judgement.WRONG
    return Judgement.WELL if value <= rule.threshold - rule.hysteresis else Judgement.BETWEEN
