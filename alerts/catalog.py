"""The rules that the console knows: what each measures, and the defaults that an operator may change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from alerts.models import Rule

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``unit`` names what ``threshold`` counts; None: the rule has no threshold of its own."""

    name: str
    title: str
    unit: str
    threshold: float | None
    severity: str
    remind: timedelta
    hysteresis: float = 0
    elsewhere: str = ""

    @property
    def runbook(self) -> str:
        """The name of its page in docs/runbooks, without the ending."""
        return self.name.replace("_", "-")

    def as_rule(self) -> Rule:
        """The rule as it is before anybody changed it; not stored."""
        return Rule(
            name=self.name,
            enabled=True,
            threshold=self.threshold,
            hysteresis=self.hysteresis,
            severity=self.severity,
            reminder_interval=self.remind,
        )


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="dlq_not_empty",
            title="Dead letter queue not empty",
            unit="dead letters",
            threshold=0,
            severity="critical",
            remind=4 * HOUR,
        ),
        Kind(
            name="dlq_unreadable",
            title="Dead letter queue can't be read",
            unit="minutes",
            threshold=10,
            severity="critical",
            remind=4 * HOUR,
        ),
        Kind(
            name="dead_letters_expiring",
            title="SQS is about to delete dead letters",
            unit="dead letters",
            threshold=0,
            severity="critical",
            remind=4 * HOUR,
        ),
        Kind(
            name="quarantined_jobs",
            title="Jobs in quarantine",
            unit="jobs",
            threshold=0,
            severity="warning",
            remind=DAY,
        ),
        Kind(
            name="stale_jobs_day",
            title="Many stale jobs in a day",
            unit="jobs in 24 hours",
            threshold=5,
            hysteresis=1,
            severity="warning",
            remind=DAY,
        ),
        Kind(
            name="mass_staleness",
            title="Many runs silent at once",
            unit="runs",
            threshold=None,
            severity="critical",
            remind=HOUR,
            elsewhere="OPSCONSOLE_MASS_STALE_RUNS and OPSCONSOLE_MASS_STALE_SHARE",
        ),
        Kind(
            name="hung_runs",
            title="Runs past their deadline",
            unit="runs",
            threshold=None,
            severity="warning",
            remind=DAY,
            elsewhere="OPSCONSOLE_RUN_DEADLINE_SECONDS, or a job's own deadline",
        ),
        Kind(
            name="no_live_worker",
            title="Jobs wait and no worker lives",
            unit="waiting jobs",
            threshold=0,
            severity="critical",
            remind=HOUR,
        ),
        Kind(
            name="outbox_stuck",
            title="Messages are not sent",
            unit="overdue messages",
            threshold=0,
            severity="critical",
            remind=HOUR,
        ),
        Kind(
            name="monitor_late",
            title="A check or a sweep is late",
            unit="intervals",
            threshold=None,
            severity="critical",
            remind=HOUR,
            elsewhere="two intervals of the monitor",
        ),
        Kind(
            name="limited_requests_hour",
            title="Many requests refused by rate limits",
            unit="requests in an hour",
            threshold=100,
            hysteresis=10,
            severity="warning",
            remind=4 * HOUR,
        ),
        Kind(
            name="gauge_unreadable",
            title="A figure can't be read",
            unit="minutes",
            threshold=15,
            severity="warning",
            remind=4 * HOUR,
        ),
        Kind(
            name="queue_unreadable",
            title="Queue can't be read",
            unit="minutes",
            threshold=None,
            severity="critical",
            remind=4 * HOUR,
            elsewhere="two readings in a row",
        ),
    )
}
