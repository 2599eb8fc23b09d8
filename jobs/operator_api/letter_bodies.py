"""Bodies of dead letters: read one to edit it, and send a letter again with another one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.conf import settings
from ninja import Field, Router, Schema
from pydantic import StringConstraints

from jobs.dead_letters import cluster_work, editing, letter_locks, redaction, requeue
from jobs.dead_letters.letter_locks import LetterGone
from jobs.models import DeadLetter, ReplayAttempt
from jobs.operations.steps import OperationRefused
from jobs.operator_api import letter_schemas
from jobs.operator_api.letters import ONE, VIEW, item, load, unknown_letter
from jobs.operator_api.outcomes import actor_of, locked, refuse
from opsconsole.kit import operator_api
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.principal import PAYLOADS_READ
from opsconsole.kit.problems import Problem
from opsconsole_worker.sqs import BATCH_BYTES

EDIT, REPLAY = "jobs.edit_deadletter", "jobs.replay_deadletter"

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


class EditableBody(Schema):
    """A body as an editor shows it."""

    body: str = Field(
        examples=['{"order": "4711", "street": ""}'],
        description="Redacted values have placeholders. A placeholder that you keep stands for its value.",
    )
    will: bool = Field(description="False: it can't be edited now.")
    sentence: str = Field(
        examples=["Waits to be sent to the queue default, edited."],
        description="What the edit would do, or why it is refused.",
    )
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Of the letter and its body. Send it back with `edit`.",
    )


class EditBody(Change):
    body: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=BATCH_BYTES)] = Field(
        examples=['{"order": "4711", "street": "Main Street 1"}'],
        description="The whole body. It is sent exactly as it is.",
    )


@operating.post(
    f"{ONE}/edit",
    response=letter_schemas.LetterChanged,
    operation_id="edit_letter",
    summary="Replay a dead letter with another body",
)
def edit_letter(request: OperatorRequest, letter_id: UUID, change: EditBody) -> letter_schemas.LetterChanged:
    """Have the cluster send a letter that names no known job again, with this body. The ledger keeps both bodies.

    The key needs the scope `payloads:read` as well, because it names the body that it saw.
    """
    request.auth.require(VIEW, EDIT, REPLAY)
    request.auth.require_scope(PAYLOADS_READ)
    seen = _shown(_whole(letter_id))
    operator_api.refuse_if_changed(change.version, seen.model_dump(mode="json"))
    if not seen.will:
        raise operator_api.refused(seen.sentence, seen.model_dump(mode="json"))
    try:
        letter = letter_locks.lock_one(letter_id)
    except LetterGone as error:
        raise _gone(error) from error
    except OperationRefused as error:
        raise locked() from error
    # Somebody else may have held the lock.
    operator_api.refuse_if_changed(change.version, _shown(letter).model_dump(mode="json"))
    try:
        body = editing.entered_body(letter, change.body)
        outcome = editing.replay_edited(letter_id, body, actor_of(request), change.reason)
    except LetterGone as error:
        raise _gone(error) from error
    except OperationRefused as error:
        raise Problem(422, f"{str(error).rstrip('.')}. Nothing was changed.") from error
    now = load(letter_id)
    if not outcome.done:
        refuse(outcome, _shown(_whole(letter_id)).model_dump(mode="json"))
    cluster_work.ask_to_fulfil()
    operator_api.log(request, [now], editing.DID, why=change.reason, result=outcome.sentence)
    return letter_schemas.LetterChanged(sentence=outcome.sentence, letter=item(request, now))


@reading.get(
    f"{ONE}/body",
    response=EditableBody,
    operation_id="show_letter_body",
    summary="The body of a dead letter, to edit it",
)
def show_letter_body(request: OperatorRequest, letter_id: UUID) -> EditableBody:
    """Return the body as the page's editor shows it, and what an edit would do."""
    request.auth.require(VIEW)
    request.auth.require_scope(PAYLOADS_READ)
    return _shown(_whole(letter_id))


def _gone(error: LetterGone) -> Problem:
    return Problem(404, str(error), reason="unknown_letter")


def _whole(letter_id: UUID) -> DeadLetter:
    """Return the letter with its body."""
    letter = DeadLetter.objects.select_related("group", "dlq").defer("words").filter(pk=letter_id).first()
    if letter is None:
        raise unknown_letter()
    return letter


def _shown(letter: DeadLetter) -> EditableBody:
    refusal = editing.OFF
    if settings.OPSCONSOLE_EDIT_DEAD_LETTERS:
        refusal = editing.why_not(letter, requeue.jobs_of([letter]).get(letter.job_id))
    attempts = ReplayAttempt.objects.filter(letter_id=letter.pk).count()
    return EditableBody(
        body=redaction.as_it_is(letter.body),
        will=not refusal,
        sentence=refusal or editing.will_be_sent(letter),
        version=operator_api.version_of(letter, letter.state, letter.body, attempts),
    )
