"""Edit and replay: a letter is sent with another body, and the ledger keeps both."""

from __future__ import annotations

import re
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, transaction

from jobs.dead_letters import envelopes, letter_locks, operations, redaction, requeue
from jobs.dead_letters.letter_locks import LetterGone
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, Job
from jobs.operations.steps import LOCKED_BY_OTHERS, OperationRefused, Outcome
from jobs.runs.timeline import Actor
from opsconsole.kit import line_diffs, reasons
from opsconsole.kit.row_locks import locked, waited_in_vain
from opsconsole_worker.sqs import BATCH_BYTES

# What the audit says.
DID = "Replayed with an edited body."
OFF = "Editing dead letters is switched off: see OPSCONSOLE_EDIT_DEAD_LETTERS."
KNOWN_JOB = (
    "The console makes its message from the row of its job: edit the payload of the job, or requeue it."
)
UNCHANGED = "The body is unchanged: replay the letter without editing it."
WOULD_SHOW = (
    "The edit changes what decides which values are hidden, so a value kept as [redacted] would be shown. Undo that change, "
    "or enter a value in place of the placeholder."
)
# The characters that SQS refuses in a body: those that XML does not allow.
FOREIGN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def offered(letter: DeadLetter, job: NamedJob | None) -> bool:
    """Tell whether the body of this letter can be edited and sent, where editing is switched on."""
    return not why_not(letter, job)


def why_not(letter: DeadLetter, job: NamedJob | None) -> str:
    """Say why the body of this letter can't be edited and sent; '' where it can. ``job``: the job that it names, if known."""
    if job is not None:
        return KNOWN_JOB
    step = operations.step_for(LetterAction.REPLAY, letter, None)
    return "" if step.will else step.sentence


def will_be_sent(letter: DeadLetter) -> str:
    """Say what becomes of the letter once an edited body was accepted."""
    return f"{operations.will_be_sent(letter.queue).rstrip('.')}, edited."


def entered_body(letter: DeadLetter, typed: str) -> str:
    """Return the body that somebody means who changed the offered one to this. Raise ``OperationRefused`` if it can't be sent."""
    if typed.replace("\r\n", "\n") == redaction.as_it_is(letter.body).replace("\r\n", "\n"):
        raise OperationRefused(UNCHANGED)
    body = redaction.put_back(typed, letter.body)
    if redaction.shows_hidden(typed, body):
        raise OperationRefused(WOULD_SHOW)
    if problem := problem_with(letter, body):
        raise OperationRefused(problem)
    return body


def problem_with(letter: DeadLetter, body: str) -> str | None:
    """Return a sentence that says why this body can't replace the letter's, or None when it can."""
    if not body.strip():
        return "The body is empty: SQS accepts no empty message."
    if (size := len(body.encode("utf-8", "surrogatepass"))) > BATCH_BYTES:
        return f"The body is {size:,} bytes; SQS accepts {BATCH_BYTES:,} at most."
    if found := FOREIGN.search(body):
        return f"SQS refuses the character U+{ord(found[0]):04X} at position {found.start() + 1}."
    if redaction.read(letter.body)[1] and not redaction.read(body)[1]:
        return "The letter's body is JSON and this one is not: its consumer would fail again."
    # Of a redacted body this would tell whether a guess of a hidden value is right: the form compares what was typed.
    if body == letter.body and not settings.OPSCONSOLE_REDACT_PATHS:
        return UNCHANGED
    return _names_a_job(body)


def _names_a_job(body: str) -> str | None:
    """Return why this body may not name a known job: its worker would refuse a message not made from the job's row."""
    document, _ = redaction.read(body)
    run = envelopes.run_in(document, settings.OPSCONSOLE_JOB_ID_PATHS)
    if run and Job.objects.filter(pk=run.job_id).exists():
        return f"The body names the job {run.job_id}, which the console knows: requeue the job on its page instead."
    return None


def replay_edited(letter_id: UUID, body: str, actor: Actor, reason: str) -> Outcome:
    """Request that the letter is sent with this body. Raise ``OperationRefused`` when that is not possible."""
    if not settings.OPSCONSOLE_EDIT_DEAD_LETTERS:
        raise OperationRefused(OFF)
    reason = reasons.required(reason, OperationRefused, operations.KEPT)
    try:
        return _replay_edited(letter_id, body, actor, reason)
    except OperationalError as error:
        if waited_in_vain(error):
            raise OperationRefused(LOCKED_BY_OTHERS) from error
        raise


def _replay_edited(letter_id: UUID, body: str, actor: Actor, reason: str) -> Outcome:
    with transaction.atomic():
        letter = locked(DeadLetter.objects.defer("words")).filter(pk=letter_id).first()
        if letter is None:
            raise LetterGone(letter_locks.GONE)
        job = requeue.jobs_of([letter]).get(letter.job_id)
        if problem := problem_with(letter, body):
            raise OperationRefused(problem)
        if job is not None:
            raise OperationRefused(KNOWN_JOB)
        step = operations.step_for(LetterAction.REPLAY, letter, None)
        if not step.will:
            return Outcome(letter.pk, done=False, sentence=step.sentence)
        operations.want_sending([letter], actor, reason, edited_body=body)
        return Outcome(letter.pk, done=True, sentence=will_be_sent(letter))


def diff(old: str, new: str) -> list[tuple[str, str]]:
    """Return the differences as (kind, line), redacted, as ``line_diffs.between`` does."""
    return line_diffs.between(redaction.show(old).text, redaction.show(new).text)
