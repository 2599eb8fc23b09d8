"""Findings about what the console consists of and stands on: sweeps, messages, queues, workers and the task queue."""

from __future__ import annotations

from jobs.recovery import outlook_wording, refused_runs
from jobs.recovery.surroundings import Stop, Surroundings
from jobs.runs import worker_kinds
from jobs.watch import message_gauges, refused_claims, worker_gauges
from opsconsole.cluster.task_table import table
from opsconsole.kit.counting import many
from opsconsole.kit.durations import spell
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding


def of_the_machine(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return what is wrong with sweeps, runs that nothing can change, queues, messages and workers."""
    findings = (
        _late_sweep(seen, around),
        _locked_runs(seen),
        _refused_runs(seen),
        _refused_claims(seen),
        _unread_queues(seen),
        _overdue_messages(seen),
        _wrong_clocks(seen),
        _no_live_worker(seen),
    )
    return [finding for finding in findings if finding]


def _late_sweep(seen: Overview, around: Surroundings) -> Finding | None:
    if not seen.sweep_is_late:
        return None
    age = f"for {spell(seen.sweep_age)}" if seen.sweep_age else "yet"
    advice = f"Dead runs are not found. {_why_no_sweep(around)}"
    return Finding("bad", f"No sweep has ended {age}.", advice, "Open sweeps", "jobs_sweep_changelist")


def _why_no_sweep(around: Surroundings) -> str:
    if around.schedule_paused:
        return outlook_wording.of_stop(Stop.SCHEDULE_PAUSED, around)
    return "Check that the cluster (manage.py run_cluster) is running."


def _locked_runs(seen: Overview) -> Finding | None:
    if not seen.locked_runs:
        return None
    sentence, advice = seen.locked_runs.sentence(seen.read_at), seen.locked_runs.advice
    page = ("Show runs", "jobs_job_changelist", "?stale=any")
    return Finding("bad", sentence, advice, *page, rule="locked_runs")


def _refused_runs(seen: Overview) -> Finding | None:
    if not seen.refused_runs:
        return None
    page = ("Open recovery", "jobs_recoverycontrol_changelist")
    return Finding("bad", seen.refused_runs.sentence, refused_runs.ADVICE, *page, rule="refused_runs")


def _refused_claims(seen: Overview) -> Finding | None:
    if not (seen.refused_claims and seen.refused_claims.count):
        return None
    page = ("Show jobs", "jobs_job_changelist", "?status=waiting")
    return Finding("bad", seen.refused_claims.sentence, refused_claims.ADVICE, *page, rule="refused_claims")


def _unread_queues(seen: Overview) -> Finding | None:
    if not seen.unread_queues:
        return None
    sentence = f"Queue {', '.join(seen.unread_queues)} can't be read."
    advice = "Its depth is unknown. See the error of the last reading."
    page = ("Open queues", "jobs_queuestate_changelist")
    return Finding("bad", sentence, advice, *page, rule="queue_unreadable")


def _overdue_messages(seen: Overview) -> Finding | None:
    if not seen.overdue:
        return None
    sentence = f"{message_gauges.overdue_in_words(seen.overdue)}."
    advice = "Check that the dispatcher runs and SQS answers."
    page = ("Show messages", "jobs_outbox_changelist", "?state=overdue")
    return Finding("bad", sentence, advice, *page, rule="outbox_stuck")


def _wrong_clocks(seen: Overview) -> Finding | None:
    if not seen.clocks_off:
        return None
    sentence = f"{worker_kinds.wrong_clocks_in_words(seen.clocks_off)}."
    advice = f"{worker_kinds.CLOCKS_COUNT_AS_SEEN} Set the clocks."
    page = ("Open workers", "jobs_workerheartbeat_changelist")
    return Finding("warning", sentence, advice, *page, rule="worker_clocks")


def _no_live_worker(seen: Overview) -> Finding | None:
    if not seen.without_workers:
        return None
    sentence = f"{worker_gauges.no_worker_in_words(seen.without_workers)}."
    advice = worker_gauges.START_WORKERS
    page = ("Open workers", "jobs_workerheartbeat_changelist")
    return Finding("bad", sentence, advice, *page, quotes=("jobs_job",), rule="no_live_worker")


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
