"""Edit and replay: the letter is sent with another body; the ledger keeps both."""

from __future__ import annotations

import difflib
import re
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from jobs.dead_letters import operations, redaction, requeue
from jobs.letter_ledger.entries import Action
from jobs.messaging.format import MalformedMessage, parse_body
from jobs.models import DeadLetter, Job
from jobs.operations.job_operations import OperationRefused, Outcome
from jobs.runs.timeline import Actor
from jobs.sqs import BATCH_BYTES
from opsconsole.kit import reasons

MOST_DIFF_LINES = 400
# What SQS refuses in a body (facts of XML).
FOREIGN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def problem_with(letter: DeadLetter, body: str) -> str | None:
    """Why this body can't take the place of the letter's, in a sentence; None when it can."""
    if not body.strip():
        return "The body is empty: SQS takes no empty message."
    if (size := len(body.encode("utf-8", "surrogatepass"))) > BATCH_BYTES:
        return f"The body is {size:,} bytes; SQS takes {BATCH_BYTES:,} at most."
    if found := FOREIGN.search(body):
        return f"SQS refuses the character U+{ord(found[0]):04X} at position {found.start() + 1}."
    if redaction.read(letter.body)[1] and not redaction.read(body)[1]:
        return "The letter's body is JSON, this is not: whoever reads it would fail again."
    if body == letter.body:
        return "Nothing was changed: replay it instead."
    return _names_a_job(body)


def _names_a_job(body: str) -> str | None:
    """A message of a known job is made from the job's row; a hand-made one would be refused by its worker."""
    try:
        message = parse_body(body, BATCH_BYTES)
    except MalformedMessage:
        return None
    if Job.objects.filter(pk=message.job_id).exists():
        return (
            f"It names the job {message.job_id}, which the console knows: requeue that on its page instead."
        )
    return None


def replay_edited(letter_id: UUID, body: str, actor: Actor, reason: str) -> Outcome:
    """Wish that the letter is sent with this body. Raises ``OperationRefused`` when that can't be begun."""
    if not settings.OPSCONSOLE_EDIT_DEAD_LETTERS:
        raise OperationRefused("Editing dead letters is off: see OPSCONSOLE_EDIT_DEAD_LETTERS.")
    reason = reasons.required(reason, OperationRefused, operations.KEPT)
    with transaction.atomic():
        letter = DeadLetter.objects.select_for_update().defer("words").get(pk=letter_id)
        job = requeue.jobs_of([letter]).get(letter.job_id)
        if problem := problem_with(letter, body):
            raise OperationRefused(problem)
        if job is not None:
            raise OperationRefused("Its job is known: what is sent is made from the job's row.")
        step = operations.step_for(Action.REPLAY, letter, None)
        if not step.will:
            return Outcome(letter.pk, done=False, sentence=step.sentence)
        operations.want_sending([letter], actor, reason, edited_body=body)
        return Outcome(
            letter.pk, done=True, sentence=f"Waits to be sent to the queue {letter.queue}, edited."
        )


def diff(old: str, new: str) -> list[tuple[str, str]]:
    """What differs, as (kind, line) with kind 'added', 'removed', 'place' or 'same'; redacted as on all pages."""
    before, after = (redaction.show(body).text.splitlines() for body in (old, new))
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2 : MOST_DIFF_LINES + 2]
    return [(_KINDS.get(line[:1], "same"), line) for line in lines]


_KINDS: dict[str, Any] = {"+": "added", "-": "removed", "@": "place"}
