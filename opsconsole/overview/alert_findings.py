"""Findings about open alerts, and about channels that reach nobody."""

from __future__ import annotations

from alerts.models.alert import Severity
from jobs.dead_letters.queue_visit import counted
from opsconsole.kit.counting import many
from opsconsole.overview.current_figures import FiringAlert, Overview
from opsconsole.overview.finding import Finding

MOST_OF_A_TITLE = 120


def of_alert(alert: FiringAlert, seen: Overview) -> Finding:
    tone = "bad" if alert.severity == Severity.CRITICAL else "warning"
    return Finding(
        tone,
        f"{_present(alert, seen)[:MOST_OF_A_TITLE].rstrip('.')}.",
        "Look at it, then acknowledge it.",
        "Open alert",
        "alerts_alert_change",
        key=alert.key,
    )


def _present(alert: FiringAlert, seen: Overview) -> str:
    """Return the title of an alert; of a dead letter queue, what SQS counts now, which need not be what the list shows."""
    depth = seen.dead_letters_by_queue.get(alert.scope) if alert.rule == "dlq_not_empty" else None
    return alert.title if depth is None else counted(depth, alert.scope)


def of_more_alerts(seen: Overview) -> list[Finding]:
    more = seen.firing - len(seen.firing_alerts)
    if not more:
        return []
    sentence = f"{many(more, 'more alert fires', 'more alerts fire')}."
    page = ("Show alerts", "alerts_alert_changelist", "?state=firing")
    return [Finding("warning", sentence, "Look at them, then acknowledge them.", *page)]


def of_channels(seen: Overview) -> list[Finding]:
    if seen.untold is None:
        return []
    tone = "bad" if seen.untold.nobody else "warning"
    return [
        Finding(tone, seen.untold.sentence, seen.untold.advice, "Open channels", "alerts_channel_changelist")
    ]
