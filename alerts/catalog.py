"""The catalogue of alert rules: what each rule measures, and its defaults, which operators may change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from alerts.models import Rule
from opsconsole.kit.durations import DAY, HOUR, MINUTE


@dataclass(frozen=True, kw_only=True)
class RuleDefinition:
    """A rule with its defaults.

    ``threshold`` is in the given ``unit``. If it is None, ``threshold_source`` says what decides instead.
    """

    name: str
    title: str
    unit: str
    threshold: float | None
    severity: str
    reminder_interval: timedelta
    hysteresis: float = 0
    # Longer than the time between two readings of any rule, so that a value that goes up and down is one alert.
    keep_firing_for: timedelta = 15 * MINUTE
    news_interval: timedelta = 15 * MINUTE
    threshold_source: str = ""

    @property
    def runbook(self) -> str:
        """The name of the rule's page in docs/runbooks, without the extension."""
        return self.name.replace("_", "-")

    def default_rule(self) -> Rule:
        """Return an unsaved rule with the defaults."""
        return Rule(
            name=self.name,
            enabled=True,
            threshold=self.threshold,
            hysteresis=self.hysteresis,
            severity=self.severity,
            reminder_interval=self.reminder_interval,
            keep_firing_for=self.keep_firing_for,
            news_interval=self.news_interval,
        )


# In addresses: the alerts that belong to no rule of the console, such as those of CloudWatch.
NO_RULE = "none"

RULES = {
    rule.name: rule
    for rule in (
        RuleDefinition(
            name="dlq_not_empty",
            title="Dead letter queue not empty",
            unit="dead letters",
            threshold=0,
            severity="critical",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="dlq_unreadable",
            title="Dead letter queue can't be read",
            unit="minutes",
            threshold=10,
            severity="critical",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="dead_letters_expiring",
            title="SQS is about to delete dead letters",
            unit="dead letters",
            threshold=0,
            severity="critical",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="quarantined_jobs",
            title="Jobs in quarantine",
            unit="jobs",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="stale_jobs_day",
            title="Many stale jobs in a day",
            unit="jobs in 24 hours",
            threshold=5,
            hysteresis=1,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="mass_staleness",
            title="Many runs silent at once",
            unit="runs",
            threshold=None,
            severity="critical",
            reminder_interval=HOUR,
            # The hold of recovery decides when it is over.
            keep_firing_for=timedelta(0),
            threshold_source="OPSCONSOLE_MASS_STALE_RUNS and OPSCONSOLE_MASS_STALE_SHARE",
        ),
        RuleDefinition(
            name="database_restored",
            title="The database was restored or failed over",
            unit="signs",
            threshold=None,
            severity="critical",
            reminder_interval=HOUR,
            threshold_source="any sign of it, until an operator runs recovery_mode restored",
        ),
        RuleDefinition(
            name="hung_runs",
            title="Runs past their deadline",
            unit="runs",
            threshold=None,
            severity="warning",
            reminder_interval=DAY,
            threshold_source="OPSCONSOLE_RUN_DEADLINE_SECONDS, or the job's own deadline",
        ),
        RuleDefinition(
            name="locked_runs",
            title="Stale runs that others keep locked",
            unit="runs",
            threshold=None,
            severity="warning",
            reminder_interval=4 * HOUR,
            threshold_source="three sweeps in a row that passed over a run",
        ),
        RuleDefinition(
            name="refused_runs",
            title="Stale runs whose recovery the database refuses",
            unit="runs",
            threshold=None,
            severity="critical",
            reminder_interval=4 * HOUR,
            threshold_source="a sweep whose changes a constraint or trigger refused",
        ),
        RuleDefinition(
            name="refused_claims",
            title="Jobs that the database does not let start",
            unit="jobs",
            threshold=0,
            severity="warning",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="unknown_runs",
            title="Silent runs of which nobody knows whether they are alive",
            unit="runs",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="runs_by_hand",
            title="Runs that wait for an operator",
            unit="runs",
            threshold=0,
            severity="warning",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="worker_clocks",
            title="Clocks of workers are wrong",
            unit="workers",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="short_visibility",
            title="A visibility timeout is shorter than runs",
            unit="queues",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="old_transaction",
            title="An old transaction keeps dead rows from being removed",
            unit="minutes",
            threshold=15,
            severity="warning",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="no_live_worker",
            title="Jobs are waiting, but no worker is alive",
            unit="waiting jobs",
            threshold=0,
            severity="critical",
            reminder_interval=HOUR,
        ),
        RuleDefinition(
            name="outbox_stuck",
            title="Messages are not sent",
            unit="overdue messages",
            threshold=0,
            severity="critical",
            reminder_interval=HOUR,
        ),
        RuleDefinition(
            name="monitor_late",
            title="A check or a sweep is late",
            unit="intervals",
            threshold=None,
            severity="critical",
            reminder_interval=HOUR,
            threshold_source="two intervals of the monitor",
        ),
        RuleDefinition(
            name="failing_tasks",
            title="Scheduled tasks that keep failing",
            unit="tasks",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="limited_requests_hour",
            title="Many requests refused by rate limits",
            unit="requests per hour",
            threshold=100,
            hysteresis=10,
            severity="warning",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="limiter_degraded",
            title="Rate limits are not shared",
            unit="processes",
            threshold=None,
            severity="critical",
            reminder_interval=4 * HOUR,
            threshold_source="the store of the limiter does not answer",
        ),
        RuleDefinition(
            name="audit_broken",
            title="The audit does not match its seals",
            unit="breaks",
            threshold=None,
            severity="critical",
            reminder_interval=4 * HOUR,
            threshold_source="any row or seal that is not as it was sealed",
        ),
        RuleDefinition(
            name="local_log_ins",
            title="Logins with a password beside single sign-on",
            unit="logins in an hour",
            threshold=0,
            severity="warning",
            reminder_interval=DAY,
        ),
        RuleDefinition(
            name="gauge_unreadable",
            title="A value can't be read",
            unit="minutes",
            threshold=15,
            severity="warning",
            reminder_interval=4 * HOUR,
        ),
        RuleDefinition(
            name="queue_unreadable",
            title="Queue can't be read",
            unit="minutes",
            threshold=None,
            severity="critical",
            reminder_interval=4 * HOUR,
            threshold_source="two failed readings in a row",
        ),
    )
}
