"""Findings about alerts that fire, and about channels that reach nobody."""

from __future__ import annotations

from urllib.parse import urlencode

from alerts.catalog import NO_RULE, RULES
from jobs.dead_letters.scan_coverage import counted
from opsconsole.kit.counting import exactly, many
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding
from opsconsole.overview.firing import FiringAlert, FiringRule

MOST_OF_A_TITLE = 120
# Of a rule with more alerts than this, one line names what they are about.
ONE_BY_ONE = 2
SCOPES_NAMED = 10
ADVICE = "Look at it, then acknowledge it."
GONE = "The alert resolves automatically if this does not come back."
UNKNOWN = "Whether this still holds can't be judged at present. Open the alert to see why."


def of_rule(rule: FiringRule, seen: Overview) -> list[Finding]:
    """Return the findings that name each alert of a rule; where they are many, in one line."""
    if rule.number <= min(ONE_BY_ONE, len(rule.alerts)):
        return [_of_alert(each, seen) for each in rule.alerts]
    return [in_one_line(rule, seen)]


def in_one_line(rule: FiringRule, seen: Overview) -> Finding:
    """Return the finding about all alerts of a rule."""
    if rule.number == len(rule.alerts) == 1:
        return _of_alert(rule.alerts[0], seen)
    return Finding(
        _tone(rule),
        f"{'No longer: ' if rule.gone else ''}{_many_of(rule)}{_about(rule)}.",
        "The alerts resolve automatically if this does not come back."
        if rule.gone
        else "Look at them, then acknowledge them.",
        "Show alerts",
        "alerts_alert_changelist",
        "?" + urlencode({"state": "firing", "rule": rule.rule or NO_RULE}),
        acts="" if rule.gone else "alerts.alert",
    )


def _of_alert(alert: FiringAlert, seen: Overview) -> Finding:
    return Finding(
        _tone(alert),
        f"{'No longer: ' if alert.gone else ''}{_shortened(_present(alert, seen))}.",
        GONE if alert.gone else UNKNOWN if alert.unknown else ADVICE,
        "Open alert",
        "alerts_alert_change",
        key=alert.key,
        acts="" if alert.gone or alert.unknown else "alerts.alert",
    )


def _tone(of: FiringAlert | FiringRule) -> str:
    if of.gone:
        return "quiet"
    return "bad" if of.is_critical else "warning"


def _shortened(title: str) -> str:
    return title[:MOST_OF_A_TITLE].rstrip(".")


def _present(alert: FiringAlert, seen: Overview) -> str:
    """Return the title of an alert; of a dead letter queue, what SQS counts now, which need not be what the list shows."""
    depth = seen.dead_letters_by_queue.get(alert.scope) if alert.rule == "dlq_not_empty" else None
    return alert.title if depth is None else counted(depth, alert.scope)


def _many_of(rule: FiringRule) -> str:
    if not rule.rule:
        return exactly(rule.number, "alert without a rule", "alerts without a rule")
    title = RULES[rule.rule].title if rule.rule in RULES else rule.rule
    return f"{exactly(rule.number, 'alert')} of “{title}”"


def _about(rule: FiringRule) -> str:
    """Return what the alerts of a rule are about: what they measure, or their titles."""
    names = [each.scope if rule.rule and each.scope else _shortened(each.title) for each in rule.alerts]
    more = rule.number - len(names[:SCOPES_NAMED])
    named = ("; " if not rule.rule else ", ").join(names[:SCOPES_NAMED])
    if not named:
        return ""
    return f": {named} and {many(more, 'other')}" if more else f": {named}"


def of_channels(seen: Overview) -> list[Finding]:
    if seen.untold is None:
        return []
    tone = "bad" if seen.untold.nobody else "warning"
    return [
        Finding(tone, seen.untold.sentence, seen.untold.advice, "Open channels", "alerts_channel_changelist")
    ]
