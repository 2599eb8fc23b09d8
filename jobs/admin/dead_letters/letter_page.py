"""The page of a dead letter: what failed and why, its redacted body, and everything that was done to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.admin.action_buttons import Button, button
from jobs.admin.dead_letters.letter_actions import apart_from_job
from jobs.bulk import turns
from jobs.bulk.turns import Turn
from jobs.dead_letters import editing, fingerprint, operations, own_words, reading, redaction, verdicts
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetter, JobEvent, ReplayAttempt
from opsconsole.kit import one_statement
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import badge
from opsconsole.kit.page_permissions import Asker, may_see
from opsconsole.kit.short_ids import short_id

EVENTS_SHOWN = 8
RETURNS_SHOWN = 20
# A longer error is shown as it was written, in a box of its own.
LONGEST_SENTENCE = 300
WHOLE = 4 * 1_048_576
LABELS: dict[str, str] = {
    LetterAction.REPLAY: "Replay",
    LetterAction.DISCARD: "Discard",
    LetterAction.RESTORE: "Restore",
    LetterAction.MARK_SENT: "It was sent",
    LetterAction.MARK_NOT_SENT: "It was not sent",
}
LEDGER_TONES: dict[str, str] = {
    State.DONE: "good",
    State.NOT_DONE: "bad",
    State.UNKNOWN: "warning",
    State.SENT: "running",
    State.SENDING: "running",
}


class LetterColumns(DbNow):
    """Read by ``jobs.admin.dead_letters.letter_list.DeadLetterAdmin.load``; ``ledger``: all attempts to do something to it."""

    ledger: list[ReplayAttempt]


ShownLetter: TypeAlias = "WithAnnotations[DeadLetter, LetterColumns]"


@dataclass(frozen=True)
class LedgerEntry:
    """One row of the ledger with its steps so far. ``diff`` is the difference between the body and the edited one."""

    row: ReplayAttempt
    what: SafeString
    steps: Sequence[tuple[str, datetime]]
    diff: Sequence[tuple[str, str]]


def letter_page(
    letter: ShownLetter, job: NamedJob | None, permitted: Sequence[LetterAction], *, sees_jobs: bool
) -> dict[str, Any]:
    """Return the context of the page of a letter that was loaded by ``jobs.admin.dead_letters.letter_list.DeadLetterAdmin.load``.

    ``sees_jobs``: the person may see jobs; otherwise the page shows nothing of the one that the letter names.
    """
    steps = [operations.step_for(action, letter, job) for action in permitted]
    buttons = [button("jobs_deadletter", step, LABELS[step.action]) for step in steps]
    if letter.state == DeadLetter.State.GONE and job is None:
        # Its work may be done, and nothing tells.
        buttons = [replace(each, plain=each.action == LetterAction.REPLAY) for each in buttons]
    about_job = _about_job(job if sees_jobs else None)
    return {
        "title": f"Dead letter {short_id(letter.pk)}",
        "letter": letter,
        **why_it_failed(letter, job if sees_jobs else None, [event for _, event in about_job["job_events"]]),
        "body": redaction.show(letter.body),
        "addressee": reading.shown_addressee(letter),
        "attributes": redaction.redact_attributes(letter.attributes),
        "system_attributes": redaction.redact(dict(letter.system_attributes)),
        **about_job,
        "sees_jobs": sees_jobs,
        "ledger": [_entry(row, letter) for row in reversed(letter.ledger)],
        "came_back_as": DeadLetter.objects.light().filter(returned_from=letter)[:RETURNS_SHOWN],
        "buttons": [b for b in buttons if b.enabled],
        "departure": _departure(letter, job, permitted, sees_jobs=sees_jobs),
        "refusal": _refusal(letter, buttons, sees_jobs=sees_jobs),
        "unknown": letter.state == DeadLetter.State.OUTCOME_UNKNOWN,
    }


def why_it_failed(
    letter: DeadLetter, job: NamedJob | None = None, events: Sequence[JobEvent] = ()
) -> dict[str, Any]:
    """Return why it failed as ``failure``: in the words of its own, or as the title of its group where nothing has them.

    ``job`` and ``events``: the job that it names, for those who may see jobs. ``legend``: what the placeholders of the title mean.
    """
    if own := own_words.of(letter, job, events):
        return {"failure": own, "failure_is_long": "\n" in own or len(own) > LONGEST_SENTENCE, "legend": ""}
    title = letter.group.shown_title
    return {"failure": title, "legend": fingerprint.legend(title)}


def _departure(
    letter: ShownLetter, job: NamedJob | None, permitted: Sequence[LetterAction], *, sees_jobs: bool
) -> str:
    """Say of a letter that left its queue what a replay does, as far as this person may see and replay it."""
    may_replay = LetterAction.REPLAY in permitted and (job is None or sees_jobs)
    return verdicts.of_departure(letter, job, may_replay=may_replay)


def _refusal(letter: DeadLetter, buttons: Sequence[Button], *, sees_jobs: bool) -> str:
    """Return why the letter can't be replayed, without what only the page of its job may tell."""
    why = next((b.why for b in buttons if b.action == LetterAction.REPLAY and not b.enabled), "")
    return why if not why or sees_jobs else apart_from_job(letter, why, goes=False)


def bulk_turns(letter: DeadLetter, job: NamedJob | None, user: Asker) -> Sequence[Turn]:
    """Return what bulk operations will do to the letter, as far as this person may see them and its job."""
    if not may_see(user, "jobs_bulkoperation"):
        return ()
    found: Sequence[Turn] = one_statement.read(turns=turns.of_letter(letter, job))["turns"]
    return found if may_see(user, "jobs_job") else [_turn_apart_from_job(letter, turn) for turn in found]


def _turn_apart_from_job(letter: DeadLetter, turn: Turn) -> Turn:
    if not turn.why or turn.action != LetterAction.REPLAY:
        return turn
    return replace(turn, why=apart_from_job(letter, turn.why, goes=False))


def _about_job(job: NamedJob | None) -> dict[str, Any]:
    return {
        "job": job,
        "job_status": labels.job_status(job, job.read_at) if job else "",
        "job_events": _events(job) if job else [],
    }


def _events(job: NamedJob) -> list[tuple[SafeString, JobEvent]]:
    newest = JobEvent.objects.filter(job_id=job.pk).order_by("-id")[:EVENTS_SHOWN]
    return [(_event(event), event) for event in newest]


def _event(event: JobEvent) -> SafeString:
    label = event.get_kind_display().capitalize()
    return badge(label, labels.EVENT_TONES.get(event.kind, "quiet"))


def _entry(row: ReplayAttempt, letter: DeadLetter) -> LedgerEntry:
    state = row.get_state_display()
    what = badge(row.get_action_display().capitalize()) + badge(
        state.capitalize(), LEDGER_TONES.get(row.state, "waiting")
    )
    steps = [
        ("wanted", row.wanted_at),
        ("intent", row.sending_at),
        ("sent", row.sent_at),
        ("deleted", row.deleted_at),
        ("ended", row.ended_at),
    ]
    diff = [] if row.edited_body is None else editing.diff(letter.body, row.edited_body)
    return LedgerEntry(row, what, [(name, at) for name, at in steps if at], diff)


def download(letter_id: UUID) -> HttpResponse:
    """Return the whole body as a file, redacted as on the page; browsers show it as plain text at most."""
    letter = get_object_or_404(DeadLetter.objects.only("body"), pk=letter_id)
    response = HttpResponse(redaction.show(letter.body, WHOLE).text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="dead-letter-{short_id(letter.pk)}.txt"'
    return response
