"""Findings about what the console consists of and stands on: sweeps, messages, queues, workers and the task queue."""

from __future__ import annotations

from jobs.recovery import outlook_wording, refused_runs
from jobs.recovery.surroundings import Stop, Surroundings
from jobs.watch import refused_claims
from opsconsole.cluster.task_table import table
from opsconsole.kit.counting import many
from opsconsole.kit.durations import spell
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding


def of_the_machine(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    if seen.sweep_is_late:
        age = f"for {spell(seen.sweep_age)}" if seen.sweep_age else "yet"
        advice = f"Dead runs are not found. {_why_no_sweep(around)}"
        problems.append(
            Finding("bad", f"No sweep has ended {age}.", advice, "Open sweeps", "jobs_sweep_changelist")
        )
    if seen.locked_runs:
        sentence, advice = seen.locked_runs.sentence(seen.read_at), seen.locked_runs.advice
        problems.append(
            Finding(
                "bad", sentence, advice, "Show runs", "jobs_job_changelist", "?stale=any", rule="locked_runs"
            )
        )
    if seen.refused_runs:
        problems.append(
            Finding(
                "bad",
                seen.refused_runs.sentence,
                refused_runs.ADVICE,
                "Open recovery",
                "jobs_recoverycontrol_changelist",
                rule="refused_runs",
            )
        )
    if seen.refused_claims and seen.refused_claims.count:
        sentence, page = seen.refused_claims.sentence, ("jobs_job_changelist", "?status=waiting")
        problems.append(
            Finding("bad", sentence, refused_claims.ADVICE, "Show jobs", *page, rule="refused_claims")
        )
    if seen.unread_queues:
        sentence = f"Queue {', '.join(seen.unread_queues)} can't be read."
        advice = "Its depth is unknown. See the error of the last reading."
        problems.append(
            Finding(
                "bad", sentence, advice, "Open queues", "jobs_queuestate_changelist", rule="queue_unreadable"
            )
        )
    if seen.overdue:
        advice = "Check that the dispatcher runs and SQS answers."
        sentence = f"{many(seen.overdue, 'message')} should have been sent by now."
        problems.append(
            Finding(
                "bad",
                sentence,
                advice,
                "Show messages",
                "jobs_outbox_changelist",
                "?state=overdue",
                rule="outbox_stuck",
            )
        )
    if seen.clocks_off:
        sentence = f"{many(seen.clocks_off, 'worker has a wrong clock', 'workers have a wrong clock')}."
        advice = "Their heartbeats count from when the console sees them change. Set the clocks."
        problems.append(
            Finding(
                "warning",
                sentence,
                advice,
                "Open workers",
                "jobs_workerheartbeat_changelist",
                rule="worker_clocks",
            )
        )
    if seen.without_workers:
        advice = "Start workers, or find out why their heartbeats don't arrive."
        sentence = f"{many(seen.without_workers, 'job waits', 'jobs wait')} and no worker is alive."
        workers = "jobs_workerheartbeat_changelist"
        problems.append(
            Finding(
                "bad", sentence, advice, "Open workers", workers, quotes=("jobs_job",), rule="no_live_worker"
            )
        )
    return problems


def _why_no_sweep(around: Surroundings) -> str:
    if around.schedule_paused:
        return outlook_wording.of_stop(Stop.SCHEDULE_PAUSED, around)
    return "Check that the cluster (manage.py run_cluster) is running."


def of_the_task_queue(seen: Overview) -> list[Finding]:
    """Return findings about rows that the cluster refuses. The console writes no such rows."""
    problems = []
    advice = "Somebody else writes to the task tables. Find out who can, and change that password."
    if seen.refused_tasks:
        sentence = f"{many(seen.refused_tasks, 'queued task was', 'queued tasks were')} refused: not signed by this console."
        problems.append(Finding("bad", sentence, advice, "Show tasks", "django_q_ormq_changelist"))
    if seen.refused_schedules:
        sentence = (
            f"{many(seen.refused_schedules, 'schedule is', 'schedules are')} refused: not in the task table."
        )
        advice = (
            "Run python manage.py sync_schedules, as after an upgrade. If some are still refused, somebody else writes to "
            "the task tables."
        )
        problems.append(Finding("bad", sentence, advice, "Show schedules", "django_q_schedule_changelist"))
    missing = len(table()) - seen.present_schedules
    if seen.present_schedules and missing > 0:
        sentence = f"{many(missing, 'scheduled task is', 'scheduled tasks are')} missing, and what they do is not done."
        advice = "Run python manage.py sync_schedules, as after an installation or upgrade."
        problems.append(Finding("bad", sentence, advice, "Show schedules", "django_q_schedule_changelist"))
    return problems
