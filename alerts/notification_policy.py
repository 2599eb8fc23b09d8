"""What is worth telling about an alert, and when. Pure: ``alerts.notify`` and ``alerts.sending.reminders`` write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.models import Alert, Notification, Rule
from alerts.models.alert import Severity
from opsconsole.kit.storable import plain_text

Pairs = Sequence[tuple[str, str]]
Kind = Notification.Kind

# So many times the figure that people were told last is news, whoever looks after it.
GROWTH = 10
MOST_PAIRS = 20
# For alerts that belong to no rule.
REMIND = {
    Severity.CRITICAL: timedelta(hours=4),
    Severity.WARNING: timedelta(days=1),
    Severity.INFO: timedelta(days=7),
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a caller says about something that is wrong."""

    title: str
    severity: Severity
    summary: str = ""
    value: float | None = None
    threshold: float | None = None
    link: str = ""
    facts: Pairs = ()
    links: Pairs = ()
    news: str = ""
    breaks_through: bool = False


def said(  # noqa: PLR0913 - what is said is said by name
    *,
    title: str,
    severity: str,
    summary: str,
    value: float | None,
    threshold: float | None,
    link: str,
    facts: Pairs,
    links: Pairs,
    news: str | None,
    breaks_through: bool,
) -> Said:
    """What a caller says, in a form and size that can be stored. Raises ``ValueError``: an unknown severity."""
    return Said(
        title=storable(title, 300),
        severity=Severity(severity),
        summary=storable(summary, 3_000),
        value=value,
        threshold=threshold,
        link=storable(link, 1_000),
        facts=[(storable(label, 100), storable(text, 1_000)) for label, text in facts[:MOST_PAIRS]],
        links=[(storable(label, 100), storable(to, 2_900)) for label, to in links[:MOST_PAIRS]],
        news=storable(news or "", 1_000),
        breaks_through=breaks_through,
    )


def storable(text: str, length: int) -> str:
    """At most so many characters, without those that PostgreSQL or UTF-8 refuses."""
    shown = text if len(text) <= length else text[: length - 1] + "…"
    return plain_text(shown)


@dataclass(frozen=True)
class Telling:
    """``breaks_through``: it is told although somebody looks after the alert."""

    kind: Notification.Kind
    news: str = ""
    breaks_through: bool = False


def about(alert: Alert, said: Said, now: datetime, rule: Rule | None) -> Telling | None:
    """What is to be told of an open alert of which this is said now; None: nothing."""
    if alert.told_at is None:
        return Telling(Kind.FIRING)
    grown = _growth(alert.told_value, said.value)
    if grown:
        return Telling(Kind.NEWS, said.news or grown, breaks_through=True)
    if said.news and (said.breaks_through or alert.state == Alert.State.FIRING):
        return Telling(Kind.NEWS, said.news, said.breaks_through)
    return Telling(Kind.REMINDER) if reminder_is_due(alert, now, rule) else None


def _growth(told: float | None, value: float | None) -> str:
    if told is None or value is None or value < GROWTH * max(told, 1):
        return ""
    return f"Grown from {told:,g} to {value:,g}."


def reminder_is_due(alert: Alert, now: datetime, rule: Rule | None) -> bool:
    """Whether people were last told of a firing alert longer ago than its reminder interval."""
    interval = rule.reminder_interval if rule else REMIND[Severity(alert.severity)]
    told = alert.told_at
    return alert.state == Alert.State.FIRING and told is not None and now - told >= interval
