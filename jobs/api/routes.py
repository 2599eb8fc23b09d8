"""The API routes about jobs. Each one parses, calls a duty and answers; permissions are checked in the shell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any, NoReturn, Protocol
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import register_converter
from ninja import Header, Router, Status

from jobs.api import schemas
from jobs.intake import idempotency, queue_position
from jobs.intake.enqueue import InvalidJob, NewJob, enqueue
from jobs.models import Job
from jobs.runs.timeline import Actor
from opsconsole.kit import job_ids
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.problems import Problem
from opsconsole.kit.round_trip import RowLocked
from opsconsole.kit.storable import json_problem
from opsconsole_worker.runs import heartbeats, lifecycle, progress
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Refusal, Refused, Run
from opsconsole_worker.runs.progress import Progress
from opsconsole_worker.runs.worker_ids import WorkerIdTaken

public = Router(tags=["For customers"])
producers = Router(tags=["For producers"])
workers = Router(tags=["For workers"])


# Each try waits for the row itself, for as long as the lock timeout.
LOCKED_RETRY_SECONDS = 1


class AnythingConverter:
    """A path component that accepts anything given as an id, including slashes and line feeds."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(AnythingConverter, "anything")
register_converter(job_ids.NumberConverter, "job_number")


class Caller(Protocol):
    """The API key of a request. ``lineage``: the first of the keys that it succeeds, or itself."""

    pk: UUID
    name: str

    @property
    def lineage(self) -> UUID: ...


class _Called(HttpRequest):
    auth: Caller


@public.get(
    "queue/{anything:customer_id}",
    response=schemas.QueueAnswer,
    operation_id="show_queue",
    summary="Where a customer's jobs stand",
)
def show_queue(request: HttpRequest, customer_id: str) -> Any:
    """Return the states, queue positions and times of the customer's newest jobs, and nothing else about them.

    An unknown id returns an empty list.
    """
    return {"jobs": [asdict(place) for place in queue_position.of_customer(customer_id)]}


@producers.post(
    "jobs",
    response={201: schemas.JobAccepted},
    operation_id="create_job",
    summary="Accept a job",
)
def create_job(
    request: _Called,
    response: HttpResponse,
    job: schemas.JobRequest,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern="^[!-~]+$",
            description="A repeated request with the same key within 24 hours gets the first answer again.",
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


def _accept(request: _Called, asked: schemas.JobRequest) -> dict[str, Any]:
    job = enqueue(NewJob(**asked.model_dump()), actor=Actor(f"api:{request.auth.name}"))
    accepted = schemas.JobAccepted(
        id=job.pk, status=job.status, run_epoch=job.run_epoch, queue=job.queue, created_at=job.created_at
    )
    return accepted.model_dump(mode="json")


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/claim",
    response=schemas.ClaimedRun,
    operation_id="claim_run",
    summary="Claim the run, then delete the message",
)
def claim_run(request: _Called, job_id: JobId, said: schemas.ClaimRequest) -> Any:
    """200: the run belongs to this worker alone. Delete the message; from now on the database owns the run.

    409 and 404: `reason` says why the claim was refused. With `settled: true`, delete the message too. Otherwise
    return it to the queue for `retryAfter` seconds.

    When the answer is lost, or its `outcome` is `unknown`, the run may already belong to this worker. Repeat the request
    with `asked_before: true`: without it, the repeated claim is refused as `already_claimed`.
    """
    claimed = lifecycle.claim(
        job_id,
        said.run_epoch,
        _worker(request, said),
        dead_letter_id=said.dead_letter_id,
        asked_before=said.asked_before,
    )
    if isinstance(claimed, Refused):
        _refuse(claimed)
    return {
        "job_id": claimed.id,
        "run_epoch": claimed.epoch,
        "customer_id": claimed.customer_id,
        "package_size": claimed.package_size,
        "priority": claimed.priority,
        "payload": claimed.payload,
        "attempts": claimed.attempts,
        "last_progress": claimed.last_progress and _last_progress(claimed.last_progress),
        "beat_every_seconds": math.ceil(settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS),
    }


def _last_progress(last: Progress) -> dict[str, Any]:
    return {"percent": last.percent, "text": last.text, "run_epoch": last.epoch, "at": last.at}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/beat",
    response=schemas.Verdict,
    operation_id="beat_run",
    summary="Report that the run is alive, and learn whether to continue",
)
def beat_run(request: _Called, job_id: JobId, said: schemas.RunSaid) -> Any:
    """Call this every `beat_every_seconds`, from a thread or timer that ends with the worker."""
    _known(job_id)
    with _own_id():
        return {"verdict": _VERDICTS[heartbeats.beat(_worker(request, said), job_id, said.run_epoch)]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/progress",
    response=schemas.Verdict,
    operation_id="note_progress",
    summary="Record what the run has done",
)
def note_progress(request: _Called, job_id: JobId, said: schemas.ProgressRequest) -> Any:
    """Operators read the notes before they requeue the job. A note is kept whatever the verdict is.

    When the answer is lost, repeat the request with the same `once` and `asked_before: true`: the note is kept once.
    """
    _known(job_id)
    with _own_id():
        lifecycle.note(
            _run(request, job_id, said),
            said.note,
            reference=said.reference,
            once=said.once,
            asked_before=said.asked_before,
        )
    return {"verdict": _VERDICTS[heartbeats.verdict(job_id, said.run_epoch, _worker(request, said))]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/percent",
    response=schemas.Verdict,
    operation_id="report_progress",
    summary="Say how far the run is",
)
def report_progress(request: _Called, job_id: JobId, said: schemas.PercentRequest) -> Any:
    """The job's page shows it, and the next run of the job receives the last one with its claim.

    Each report replaces the one before, so send only the newest, every few seconds. A run that no longer counts reports nothing.
    """
    _known(job_id)
    percent, text = progress.checked_progress(said.percent, said.text)
    with _own_id():
        verdict = progress.report(_worker(request, said), job_id, said.run_epoch, percent, text)
    return {"verdict": _VERDICTS[verdict]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/complete",
    response=schemas.Ending,
    operation_id="complete_run",
    summary="Complete the run",
)
def complete_run(request: _Called, job_id: JobId, said: schemas.CompleteRequest) -> Any:
    """409: the run was superseded or cancelled. The result is recorded on the timeline and changes nothing.

    Repeating the request is harmless: do so when the connection breaks.
    """
    if problem := json_problem(said.details):
        raise InvalidJob(f"details can't be stored: {problem}.")
    _known(job_id)
    with _locked_is_told():
        counted = lifecycle.complete(_run(request, job_id, said), said.details)
    if not counted:
        _refuse_late(request, job_id, said)
    return {"outcome": "completed"}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/fail",
    response=schemas.Ending,
    operation_id="fail_run",
    summary="Report that the run failed",
)
def fail_run(request: _Called, job_id: JobId, said: schemas.FailRequest) -> Any:
    """While attempts are left, the job runs again after a backoff. Otherwise it has failed permanently.

    409: the run was superseded or cancelled. The report is recorded on the timeline and changes nothing.
    """
    _known(job_id)
    with _locked_is_told():
        failure = lifecycle.fail(_run(request, job_id, said), said.error, retryable=said.retryable)
    if failure is Failure.REJECTED:
        _refuse_late(request, job_id, said)
    return {"outcome": failure.value}


@workers.post(
    "workers/beat",
    response={200: schemas.IdleAnswer, 204: None},
    operation_id="beat_idle",
    summary="Report that an idle worker is alive, and learn whether its queue is paused",
)
def beat_idle(request: _Called, said: schemas.IdleRequest) -> Any:
    """Idle workers send heartbeats too, so that pages and alerts count them as alive.

    With `queue`, the answer is 200 and says whether an operator paused the work on it. Without, it is 204.
    """
    worker = _worker(request, said)
    with _own_id():
        heartbeats.say(worker)
    if said.given_back:
        heartbeats.count_given_back(worker, locked=said.given_back.locked, refused=said.given_back.refused)
    if said.queue is None:
        return Status(204, None)
    pause = lifecycle.paused(said.queue)
    return Status(200, {"paused": {"by": pause[0], "reason": pause[1]} if pause else None})


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/put-off",
    response=schemas.PutOff,
    operation_id="put_off_run",
    summary="Have the message of a waiting run sent again later",
)
def put_off_run(request: _Called, job_id: JobId, said: schemas.PutOffRequest) -> Any:
    """For a message whose claim was refused as `locked` or `refused_by_database` twice or more.

    SQS makes a dead letter of a message that is received too often. The console sends a new one instead.
    """
    delay = timedelta(seconds=said.seconds)
    return {"posted": lifecycle.put_off(job_id, said.run_epoch, delay)}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/give-back",
    response=schemas.GivenBackRun,
    operation_id="give_back_run",
    summary="Give back a run that never began",
)
def give_back_run(request: _Called, job_id: JobId, said: schemas.WorkerSaid) -> Any:
    """For a worker that is told to stop while it does not know whether it has claimed the run.

    If it has, the job runs again at once, as its next run.
    """
    return {"given_back": lifecycle.give_back(job_id, _worker(request, said))}


@workers.post("workers/leave", response={204: None}, operation_id="leave", summary="Remove the worker's row")
def leave(request: _Called, said: schemas.WorkerSaid) -> Any:
    """For a worker that ends normally. A killed worker leaves its row behind, which is how its death is noticed."""
    with _own_id():
        heartbeats.leave(_worker(request, said))
    return Status(204, None)


@contextmanager
def _own_id() -> Iterator[None]:
    """Refuse what a worker says under the id of another key's worker."""
    try:
        yield
    except WorkerIdTaken as error:
        raise Problem(
            409, error.sentence, reason=Refusal.WORKER_ID_TAKEN.name.lower(), settled=False
        ) from error


_VERDICTS = {
    Verdict.GO_ON: "continue",
    Verdict.CANCELLED: "cancelled",
    Verdict.SUPERSEDED: "superseded",
}


def _worker(request: _Called, said: schemas.WorkerSaid) -> Worker:
    key = str(request.auth.lineage)
    return Worker(said.worker_id, hostname=said.hostname, pid=said.pid, start=said.start, key=key)


def _run(request: _Called, job_id: JobId, said: schemas.RunSaid) -> Run:
    return Run(job_id, said.run_epoch, _worker(request, said))


@contextmanager
def _locked_is_told() -> Iterator[None]:
    try:
        yield
    except RowLocked as error:
        raise Problem(
            503,
            "Another transaction locks the job's row. Nothing was changed: repeat the request.",
            headers={"Retry-After": str(LOCKED_RETRY_SECONDS)},
            reason="locked",
            retryAfter=LOCKED_RETRY_SECONDS,
        ) from error


def _known(job_id: JobId) -> None:
    if not Job.objects.filter(pk=job_id).exists():
        _refuse(Refused(Refusal.UNKNOWN_JOB))


def _refuse(refused: Refused) -> NoReturn:
    refusal = refused.refusal
    constraint = refused.rule.constraint if refused.rule else ""
    named: dict[str, Any] = {"constraint": constraint} if constraint else {}
    if refused.rule:
        named["refusedForSeconds"] = round(refused.since.total_seconds())
    raise Problem(
        404 if refusal is Refusal.UNKNOWN_JOB else 409,
        refused.sentence,
        reason=refusal.name.lower(),
        settled=refusal.settled,
        retryAfter=round(refused.retry_in.total_seconds()),
        **named,
    )


def _refuse_late(request: _Called, job_id: JobId, said: schemas.RunSaid) -> NoReturn:
    verdict = _VERDICTS[heartbeats.verdict(job_id, said.run_epoch, _worker(request, said))]
    why = "cancelled" if verdict == "cancelled" else "superseded"
    raise Problem(
        409, f"The run was {why}: the report was recorded and changes nothing.", reason=why, settled=True
    )
