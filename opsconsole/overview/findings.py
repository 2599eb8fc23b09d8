"""What the figures mean, what to do first, and where: all findings, in the order of the harm that they do."""

from __future__ import annotations

from dataclasses import replace

from jobs.recovery.surroundings import Surroundings
from opsconsole.overview import alert_findings, job_findings, limiter_findings, machine_findings
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding

# The pages that the overview quotes, with its findings.
PAGES = (
    "jobs_job",
    "jobs_workerheartbeat",
    "jobs_deadletter",
    "jobs_sweep",
    "jobs_outbox",
    "jobs_queuestate",
    "jobs_recoverycontrol",
    "opsconsole_pause",
    "alerts_alert",
    "alerts_monitor",
    "alerts_channel",
    "ratelimits_ratelimithour",
    "ratelimits_limitercontrol",
    "admin_logentry",
)


def findings(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return what needs attention, most urgent first; empty when all is well.

    Critical alerts come first, then that nobody can be told; what does no harm comes last. What an alert and a figure both say is
    said once.
    """
    known = [
        *job_findings.of_recovery(seen, around),
        *machine_findings.of_the_machine(seen, around),
        *machine_findings.of_the_task_queue(seen),
        *limiter_findings.of_the_limiter(seen),
        *job_findings.of_stale_runs(seen, around),
        *job_findings.of_jobs(seen, around),
    ]
    of_alerts = {each: alert_findings.of_rule(each, seen) for each in seen.firing_rules}
    by_rule = {each.rule: alert_findings.in_one_line(each, seen) for each in seen.firing_rules if each.rule}
    known = [replace(each, alert=by_rule.get(each.rule)) for each in known]
    critical_rules = {each.rule for each in of_alerts if each.rule and each.is_critical}
    known_rules = {each.rule for each in known if each.rule}
    alone = [
        each for rule, findings in of_alerts.items() if rule.rule not in known_rules for each in findings
    ]
    untold = alert_findings.of_channels(seen)
    in_order = [
        *(each for each in alone if each.tone == "bad"),
        *(replace(each, tone="bad") for each in known if each.rule in critical_rules),
        *(each for each in untold if each.tone == "bad"),
        *(each for each in known if each.rule not in critical_rules),
        *(each for each in untold if each.tone != "bad"),
        *(each for each in alone if each.tone != "bad"),
    ]
    return sorted(in_order, key=lambda each: each.tone == "quiet")
