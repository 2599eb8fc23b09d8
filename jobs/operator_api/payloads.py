"""Payloads: read the whole one, and edit that of a job that does not run."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Field, Router, Schema
from pydantic import StringConstraints

from jobs.intake.payload_text import MOST_EDITED_BYTES
from jobs.operations import payload_edits
from jobs.operations.payload_edits import Seen
from jobs.operations.steps import OperationRefused
from jobs.operator_api import job_schemas
from jobs.operator_api.jobs import ONE, VIEW, item, load, unknown_job
from jobs.operator_api.outcomes import actor_of, refuse
from opsconsole.kit import operator_api
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.principal import PAYLOADS_READ
from opsconsole.kit.problems import Problem

EDIT = "jobs.edit_job"
CANT = "This key may not start the job again with another payload: it lacks the permission to requeue or release it"

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


class EditablePayload(Schema):
    """A payload as an editor shows it."""

    payload: str = Field(
        examples=['{"business": "Café Blüte"}'],
        description="JSON as text, so that every number keeps its digits. Empty where it can't be edited.",
    )
    will: bool = Field(description="False: it can't be edited now.")
    sentence: str = Field(
        examples=["Waits as before, with the new payload."],
        description="What the edit would do, or why it is refused.",
    )
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Of the job and its payload. Send it back with `edit`.",
    )


class EditPayload(Change):
    payload: Annotated[str, StringConstraints(strict=True, min_length=2, max_length=MOST_EDITED_BYTES)] = (
        Field(
            examples=['{"business": "Café Blüte", "street": "Main Street 1"}'],
            description="JSON as text: the whole payload.",
        )
    )


@operating.post(
    f"{ONE}/edit",
    response=job_schemas.JobChanged,
    operation_id="edit_job",
    summary="Edit the payload of a job",
)
def edit_job(request: OperatorRequest, job_id: JobId, change: EditPayload) -> Any:
    """Replace the payload of a job that waits, failed or is quarantined. One that had ended starts again with it.

    The key needs the scope `payloads:read` as well, because it names the payload that it saw. The timeline keeps that one.
    """
    request.auth.require(VIEW, EDIT)
    request.auth.require_scope(PAYLOADS_READ)
    seen = _look(job_id)
    current = _shown(seen).model_dump(mode="json")
    operator_api.refuse_if_changed(change.version, current)
    if not seen.step.will:
        raise operator_api.refused(seen.step.sentence, current)
    if not payload_edits.may(request.auth, seen.job.status):
        raise Problem(403, f"{CANT}. Nothing was changed.", reason="permission")
    try:
        outcome = payload_edits.carry_out(
            seen.step, seen.digest, change.payload, actor_of(request), change.reason
        )
    except OperationRefused as error:
        raise Problem(422, str(error)) from error
    now = load(job_id)
    if not outcome.done:
        refuse(outcome, _shown(_look(job_id)).model_dump(mode="json"))
    operator_api.log(request, [now], payload_edits.did(seen.step), why=change.reason, result=outcome.sentence)
    return job_schemas.JobChanged(sentence=outcome.sentence, job=item(now))


@reading.get(
    f"{ONE}/payload",
    response=EditablePayload,
    operation_id="show_payload",
    summary="The payload of a job, to edit it",
)
def show_payload(request: OperatorRequest, job_id: JobId) -> Any:
    """Return the payload as text, and what an edit would do."""
    request.auth.require(VIEW)
    request.auth.require_scope(PAYLOADS_READ)
    return _shown(_look(job_id))


def _look(job_id: JobId) -> Seen:
    seen = payload_edits.look(job_id)
    if seen is None:
        raise unknown_job()
    return seen


def _shown(seen: Seen) -> EditablePayload:
    version = operator_api.version_of(seen.job, seen.job.status, seen.job.run_epoch, seen.digest)
    return EditablePayload(
        payload=seen.pretty, will=seen.step.will, sentence=seen.step.sentence, version=version
    )
