"""The page of a job: its state, why it is stale or waiting, what its runs have done, and its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs.admin import labels, run_progress
from jobs.admin.jobs import payload_page, progress_notes
from jobs.admin.previewed_actions import button
from jobs.bulk import turns
from jobs.bulk.turns import Turn
from jobs.models import Job, JobEvent, Outbox, RunProgress, Status, WorkerHeartbeat, absent_columns
from jobs.models.event import recent_recoveries
from jobs.models.job import JobWithEvidence
from jobs.models.staleness import deadline_of
from jobs.models.worker import stale_after
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import step_for
from jobs.recovery import outlook, surroundings, waiting
from jobs.recovery.waiting import Fact, Waiting
from jobs.runs import attempts, life_wording
from jobs.runs.attempts import Attempt, Bar
from jobs.runs.diagnosis import Diagnosis, diagnose
from opsconsole.kit import one_statement, pauses
from opsconsole.kit.counting import exactly, many
from opsconsole.kit.display import NOTHING, badge, rough
from opsconsole.kit.durations import spell
from opsconsole.kit.one_statement import Reading, models_of, value_of
from opsconsole.kit.page_permissions import Asker, Person, may_see
from opsconsole.kit.short_ids import short_id

EVENTS_SHOWN = 300
NOTES_SHOWN = 50
ATTEMPTS_SHOWN = 20
# Of all events together, so that a page stays below a megabyte or two.
MOST_CHARACTERS = 500_000
# The whole error is below.
ERROR_SHOWN = 300
TIDY = {"note", "reference", "late", "once"}
# Such jobs stay as they are: no sweep and no retry takes them.
STAYS: dict[str, str] = {
    Status.FAILED: (
        "The console does not run it again by itself. Once the cause is mended, requeue it, or replay its dead letter "
        "if it has one."
    ),
    Status.QUARANTINED: "It is not sent again until somebody releases it, or replays its dead letter if it has one.",
}
NOT_SHOWN = "To see why, you need the permission to view outgoing messages and queues."


@dataclass(frozen=True)
class TimelineEntry:
    """One line of the timeline, from an event or an outgoing message."""

    at: datetime
    what: SafeString
    run: int | None
    actor: str
    reason: str = ""
    note: str = ""
    reference: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    event: JobEvent | None = None


@dataclass(frozen=True)
class Panel:
    """What is wrong in a sentence, and the evidence: labels with a time or words."""

    heading: str
    sentence: str
    facts: list[Fact]
    tone: str


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
    events = list(JobEvent.objects.filter(job_id=job.pk).order_by("-id")[: EVENTS_SHOWN + 1])
    shown = events[: _events_that_fit(events)]
    diagnosis = diagnose(job)
    waits = waits_of(job)
    # Only what this page shows: Django takes longer to compile each of these than PostgreSQL to answer it.
    readings: dict[str, Reading[Any]] = {"progress": models_of(run_progress.last_two(job.pk))}
    if may_see(user, "jobs_outbox"):
        readings["messages"] = models_of(_messages(job))
    if job.recovery_count:
        readings["recent"] = value_of(_recent_recoveries(job))
    if may_see(user, "jobs_bulkoperation"):
        readings["turns"] = turns.of_job(job)
    if job.status == Status.PENDING and may_see(user, "opsconsole_pause"):
        readings["pauses"] = models_of(pauses.in_force(pauses.of_queue(job.queue)))
    read = one_statement.read(**readings)
    bulk_turns = read.get("turns", ())
    return {
        "title": f"Job {short_id(job.pk)}",
        "job": job,
        "customer": labels.customer_link(job),
        "status": labels.job_status(job, job.read_at),
        "trouble": labels.message_trouble(waits.trouble) if waits else labels.trouble(diagnosis),
        "bulk_turns": bulk_turns,
        "queue_pause": next(iter(read.get("pauses", ())), None),
        "why": why(job, waits, user, bulk_turns),
        "letters_url": _letters_url(job) if may_see(user, "jobs_deadletter") else "",
        "old_kind": job.status == Status.IN_PROGRESS and job.claimed_epoch is None,
        "deadline": deadline_of(job) if job.status == Status.IN_PROGRESS else None,
        "done_before": progress_notes.of_jobs([job.pk], shown=NOTES_SHOWN).get(job.pk, []),
        **_progress(job, read["progress"]),
        "recoveries": _recoveries(job, read.get("recent")),
        "absent": absent_columns.sentences(),
        "worker": _worker_of(job) if may_see(user, "jobs_workerheartbeat") else None,
        **_attempts(job, shown),
        "timeline": _timeline(shown, read.get("messages", ())),
        "older_hidden": len(events) > len(shown),
        "events_shown": len(shown),
        "buttons": [
            *(button("jobs_job", step_for(action, job), action.label.capitalize()) for action in permitted),
            *([payload_page.button(job)] if payload_page.may(user, job.status) else []),
        ],
    }


def _letters_url(job: JobWithEvidence) -> str:
    """Return the address of the letters of a job that stays as it is; '' for others."""
    query = urlencode({"q": job.pk, "state": "all"})
    return f"{reverse('admin:jobs_deadletter_changelist')}?{query}" if job.status in STAYS else ""


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
    return {"attempts": lines[:ATTEMPTS_SHOWN], "attempts_hidden": max(0, len(lines) - ATTEMPTS_SHOWN)}


def _spelled(time: timedelta | None) -> str:
    return "unknown" if time is None else rough(time)


def _end_of(run: Attempt, job: JobWithEvidence) -> SafeString:
    if run.ended_as in JobEvent.Kind.values:
        return labels.event_badge(run.ended_as)
    if run.ended_as:
        return labels.status(run.ended_as)
    return labels.job_status(job, job.read_at) if run.run == job.run_epoch else badge("Unknown")


def waits_of(job: JobWithEvidence) -> Waiting | None:
    """Return why a waiting job waits, if something is wrong with its message."""
    return waiting.look(job.pk) if job.status == Status.PENDING else None


def why(
    job: JobWithEvidence, waits: Waiting | None, user: Asker, bulk_turns: Sequence[Turn] = ()
) -> Panel | None:
    """Return what is wrong with the job, as far as this person may see it."""
    if job.status in STAYS:
        return _of_stay(job, bulk_turns)
    if job.status == Status.CANCELLED:
        return _of_cancelled(job)
    return _of_waiting(waits, user) if waits else _of_run(job, diagnose(job))


def _of_stay(job: JobWithEvidence, bulk_turns: Sequence[Turn]) -> Panel:
    """Return why a job stays as it is, and what would change that, unless a bulk operation will."""
    failed = job.status == Status.FAILED
    error = labels.error_line(job.error_message, ERROR_SHOWN)
    return Panel(
        "Why did it fail?" if failed else "Why is it in quarantine?",
        error or ("No error was recorded." if failed else _without_error(job)),
        [] if any(turn.will for turn in bulk_turns) else [("What happens next", STAYS[job.status])],
        "bad" if failed else "warning",
    )


def _of_cancelled(job: JobWithEvidence) -> Panel | None:
    """Return why the page offers no requeue of a cancelled job, whose worker may still be at it."""
    step = step_for(JobAction.REQUEUE, job)
    return None if step.will else Panel("Why can't it be requeued?", step.sentence, [], "warning")


def _without_error(job: JobWithEvidence) -> str:
    """Return what counted towards quarantine as far as the row tells; others' tables may keep no error."""
    parts = [exactly(job.recovery_count, "recovery", "recoveries")] if job.recovery_count else []
    if job.failed_deliveries:
        parts.append(f"{many(job.failed_deliveries, 'failed delivery', 'failed deliveries')} by SQS")
    return f"No error was recorded. It had {' and '.join(parts)}." if parts else "No error was recorded."


def _events_that_fit(newest_first: Sequence[JobEvent]) -> int:
    """Return how many events a page can show, of which each may be as long as its columns are read."""
    lengths = accumulate(len(event.reason) + len(str(event.details)) for event in newest_first)
    fit = sum(length <= MOST_CHARACTERS for length in lengths)
    return min(max(fit, 1), EVENTS_SHOWN)


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


def _messages(job: JobWithEvidence) -> QuerySet[Outbox]:
    return Outbox.objects.filter(job_id=job.pk).order_by("-id")[:EVENTS_SHOWN]


def _of_waiting(waits: Waiting, user: Asker) -> Panel:
    """Return why it waits; the evidence quotes the outgoing messages and the queues."""
    heading, tone = "Why does it wait?", "bad" if waits.trouble.pressing else "warning"
    if may_see(user, "jobs_outbox") and may_see(user, "jobs_queuestate"):
        return Panel(heading, waits.sentence, waits.facts, tone)
    return Panel(heading, f"{waits.trouble.label.capitalize()}. {NOT_SHOWN}", [], tone)


def _of_run(job: JobWithEvidence, diagnosis: Diagnosis) -> Panel | None:
    if diagnosis.reason is None or job.status != Status.IN_PROGRESS:
        return None
    heading = "Why is it stale?" if diagnosis.stale else "What is wrong?"
    tone = "bad" if diagnosis.stale else "warning"
    return Panel(heading, diagnosis.sentence, _facts(job, diagnosis), tone)


def _facts(job: JobWithEvidence, diagnosis: Diagnosis) -> list[Fact]:
    limit = stale_after() if job.claimed_epoch is not None else job.read_at - job.stale_before
    return [
        ("Last beat of this run", job.beat_at or "never"),
        ("Last sign of life", diagnosis.last_seen),
        ("Counts as stale after", f"{spell(limit)} of silence"),
        ("Promise", life_wording.promise()),
        ("Recovery", outlook.of_run(job, surroundings.read()).sentence),
    ]


def _timeline(events: Iterable[JobEvent], messages: Iterable[Outbox]) -> list[TimelineEntry]:
    """Return events and messages, newest first."""
    entries = [_of_event(event) for event in reversed(list(events))]
    entries += [_of_message(message) for message in messages]
    # Sorted before it is reversed, so that events of one moment keep the order in which they were written.
    return sorted(entries, key=lambda entry: entry.at)[::-1]


def _of_event(event: JobEvent) -> TimelineEntry:
    details = event.details if isinstance(event.details, dict) else {"details": event.details}
    return TimelineEntry(
        at=event.at,
        what=labels.event_badge(event.kind),
        run=event.run_epoch,
        actor=event.actor,
        reason=event.reason,
        note=str(details.get("note", "")),
        reference=str(details.get("reference", "")),
        details={
            key: value for key, value in details.items() if key not in TIDY or (key == "late" and value)
        },
        event=event,
    )


def _of_message(message: Outbox) -> TimelineEntry:
    where = "dead letter queue of " if message.destination == Outbox.Destination.DLQ else ""
    details: dict[str, Any] = {"attempts": message.attempts, "wanted_at": message.created_at.isoformat()}
    if message.resends:
        details["resends"] = message.resends
    if message.message_id:
        details["message_id"] = message.message_id
    if message.last_error:
        details["last_error"] = message.last_error
    return TimelineEntry(
        at=message.sent_at or message.created_at,
        what=labels.message(message),
        run=message.run_epoch,
        actor="dispatcher",
        reason=labels.message_reason(message.reason),
        note=f"to {where}queue {message.queue}" if not where else f"to the {where}{message.queue}",
        details=details,
    )
