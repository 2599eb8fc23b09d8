"""The page of a job: its state, why it is stale or waiting, what its runs have done, and its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs.admin import labels, run_progress
from jobs.admin.action_buttons import button
from jobs.admin.jobs import job_panel, job_timeline, payload_page, progress_notes
from jobs.bulk import turns
from jobs.bulk.turns import Turn
from jobs.models import Job, JobEvent, RunProgress, Status, WorkerHeartbeat, absent_columns
from jobs.models.event import recent_recoveries
from jobs.models.job import JobWithEvidence
from jobs.models.staleness import deadline_of
from jobs.operations import payload_edits
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import step_for
from jobs.runs import attempts
from jobs.runs.attempts import Attempt, Bar
from jobs.runs.diagnosis import diagnose
from opsconsole.kit import one_statement, pauses
from opsconsole.kit.counting import exactly, many
from opsconsole.kit.display import NOTHING, badge, rough
from opsconsole.kit.durations import unbroken
from opsconsole.kit.one_statement import Reading, models_of, value_of
from opsconsole.kit.page_permissions import Asker, Person, may_see
from opsconsole.kit.short_ids import short_id

NOTES_SHOWN = 50
ATTEMPTS_SHOWN = 20


@dataclass(frozen=True)
class AttemptLine:
    """A run with its place on the axis, and how long it waited and ran."""

    run: Attempt
    bar: Bar
    waited: str
    ran: str
    ended: SafeString


def job_page(job: JobWithEvidence, permitted: Sequence[JobAction], user: Person) -> dict[str, Any]:
    """Return the context of the page of a job that was loaded by ``with_evidence()``, as far as this person may see it."""
    events = list(JobEvent.objects.filter(job_id=job.pk).order_by("-id")[: job_timeline.EVENTS_SHOWN + 1])
    shown = events[: job_timeline.events_that_fit(events)]
    diagnosis = diagnose(job)
    waits = job_panel.waits_of(job)
    # Only what this page shows: Django takes longer to compile each of these than PostgreSQL to answer it.
    readings: dict[str, Reading[Any]] = {"progress": models_of(run_progress.last_two(job.pk))}
    if may_see(user, "jobs_outbox"):
        readings["messages"] = models_of(job_timeline.messages_of(job))
    if job.recovery_count:
        readings["recent"] = value_of(_recent_recoveries(job))
    readings |= _turns_of(job, user)
    if job.status == Status.PENDING and may_see(user, "opsconsole_pause"):
        readings["pauses"] = models_of(pauses.in_force(pauses.of_queue(job.queue)))
    read = one_statement.read(**readings)
    upcoming = _upcoming(read)
    return {
        "title": f"Job {short_id(job.pk)}",
        "job": job,
        "customer": labels.customer_link(job),
        "status": labels.job_status(job, job.read_at),
        "trouble": labels.message_trouble(waits.trouble) if waits else labels.trouble(diagnosis),
        "bulk_turns": upcoming,
        "queue_pause": next(iter(read.get("pauses", ())), None),
        "why": job_panel.why(job, waits, user, upcoming),
        "letters_url": _letters_url(job) if may_see(user, "jobs_deadletter") else "",
        "old_kind": job.status == Status.IN_PROGRESS and job.claimed_epoch is None,
        "deadline": deadline_of(job) if job.status == Status.IN_PROGRESS else None,
        "done_before": progress_notes.of_jobs([job.pk], shown=NOTES_SHOWN).get(job.pk, []),
        **_progress(job, read["progress"]),
        "recoveries": _recoveries(job, read.get("recent")),
        "absent": absent_columns.sentences(),
        "worker": _worker_of(job) if may_see(user, "jobs_workerheartbeat") else None,
        **_attempts(job, shown),
        "timeline": job_timeline.timeline(shown, read.get("messages", ())),
        "older_hidden": len(events) > len(shown),
        "events_shown": len(shown),
        "buttons": _buttons(job, permitted, user),
    }


def _buttons(job: JobWithEvidence, permitted: Sequence[JobAction], user: Person) -> list[Any]:
    buttons = [button("jobs_job", step_for(action, job), action.label.capitalize()) for action in permitted]
    return [*buttons, payload_page.button(job)] if payload_edits.may(user, job.status) else buttons


def bulk_turns(job: JobWithEvidence, user: Asker) -> Sequence[Turn]:
    """Return what bulk operations will do to the job, to whoever may see them."""
    return _upcoming(one_statement.read(**_turns_of(job, user)))


def _turns_of(job: JobWithEvidence, user: Asker) -> dict[str, Reading[Any]]:
    if not may_see(user, "jobs_bulkoperation"):
        return {}
    # A replay of a letter runs these again.
    if job.status in job_panel.STAYS and may_see(user, "jobs_deadletter"):
        return {"turns": turns.of_job(job), "letter_turns": turns.of_letters_of(job)}
    return {"turns": turns.of_job(job)}


def _upcoming(read: Mapping[str, Any]) -> Sequence[Turn]:
    return [*read.get("turns", ()), *read.get("letter_turns", ())]


def _letters_url(job: JobWithEvidence) -> str:
    """Return the address of the letters of a job that stays as it is; '' for others."""
    query = urlencode({"q": job.pk, "state": "all"})
    return f"{reverse('admin:jobs_deadletter_changelist')}?{query}" if job.status in job_panel.STAYS else ""


def _progress(job: JobWithEvidence, last_two: Iterable[RunProgress]) -> dict[str, Any]:
    """Return how far the current run is or was, and how far the one before was when it last said so."""
    rows = [run_progress.drawn(row) for row in last_two]
    current = next((row for row in rows if row.run_epoch == job.run_epoch), None)
    earlier = next((row for row in rows if row.run_epoch < job.run_epoch), None)
    return {"progress": current, "earlier_progress": earlier}


def _attempts(job: JobWithEvidence, newest_first: Sequence[JobEvent]) -> dict[str, Any]:
    """Return a line per run, latest first, with its bar on the axis that all of them share."""
    runs = attempts.of_job(job, reversed(newest_first))
    lines = [
        AttemptLine(
            run,
            bar,
            _spelled(run.waited(job.read_at)),
            NOTHING if run.never_began else _spelled(run.ran(job.read_at)),
            _end_of(run, job),
        )
        for run, bar in zip(runs, attempts.bars(runs, job.read_at), strict=True)
    ]
    return {
        "attempts": lines[:ATTEMPTS_SHOWN],
        "attempts_hidden": max(0, len(lines) - ATTEMPTS_SHOWN),
        "axis": attempts.axis_of(runs, job.read_at),
    }


def _spelled(time: timedelta | None) -> str:
    return "unknown" if time is None else unbroken(rough(time))


def _end_of(run: Attempt, job: JobWithEvidence) -> SafeString:
    if run.ended_as in JobEvent.Kind.values:
        return labels.event_badge(run.ended_as)
    if run.ended_as:
        return labels.status(run.ended_as)
    return labels.job_status(job, job.read_at) if run.run == job.run_epoch else badge("Unknown")


def _recent_recoveries(job: JobWithEvidence) -> QuerySet[Any, Any]:
    return Job.objects.filter(pk=job.pk).values_list(recent_recoveries(exact=True), flat=True)


def _recoveries(job: JobWithEvidence, recent: int | None) -> str:
    by_sqs = many(job.failed_deliveries, "failed delivery", "failed deliveries") + " by SQS"
    parts = [by_sqs] if job.failed_deliveries else []
    if job.recovery_count:
        window = exactly(settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS, "hour")
        parts.insert(0, f"{job.recovery_count:,}, of which {recent or 0:,} within {window}")
    return "; ".join(parts) or "none"


def _worker_of(job: JobWithEvidence) -> WorkerHeartbeat | None:
    workers = WorkerHeartbeat.objects.with_counted_beat()
    return workers.filter(worker_id=job.worker_id).first() if job.worker_id else None
