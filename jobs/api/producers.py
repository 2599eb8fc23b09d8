"""The route for producers: it accepts jobs."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpResponse
from ninja import Header, Router, Status

from jobs.api import schemas
from jobs.api.caller import Called
from jobs.intake import idempotency
from jobs.intake.enqueue import NewJob, enqueue
from jobs.runs.timeline import Actor

producers = Router(tags=["For producers"])


@producers.post(
    "jobs",
    response={201: schemas.JobAccepted},
    operation_id="create_job",
    summary="Accept a job",
)
def create_job(
    request: Called,
    response: HttpResponse,
    job: schemas.JobRequest,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description=f"A repeated request with the same key gets the first answer again, for {idempotency.KEPT_FOR}.",
        ),
    ] = None,
) -> Any:
    """Write the job, its timeline and the message to its queue in one transaction.

    With an `Idempotency-Key` it is safe to repeat the request: it never creates a second job. The same key with
    another body is refused with 422. A repeated answer has the header `Idempotent-Replayed: true`.
    """
    if idempotency_key is None:
        return Status(201, _accept(request, job))
    caller = f"api-key:{request.auth.pk}"
    asked = job.model_dump(mode="json")
    answer = idempotency.once(caller, idempotency_key, asked, lambda: _accept(request, job))
    if answer.replayed:
        response["Idempotent-Replayed"] = "true"
    return Status(201, answer.fields)


def _accept(request: Called, asked: schemas.JobRequest) -> dict[str, Any]:
    job = enqueue(NewJob(**asked.model_dump()), actor=Actor(f"api:{request.auth.name}"))
    accepted = schemas.JobAccepted(
        id=job.pk, status=job.status, run_epoch=job.run_epoch, queue=job.queue, created_at=job.created_at
    )
    return accepted.model_dump(mode="json")
