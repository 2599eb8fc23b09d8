"""The routes for workers. Each one parses, calls a duty and answers; permissions are checked in the shell."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, NoReturn

from django.conf import settings
from django.urls import register_converter
from ninja import Router, Status

from jobs.api import schemas
from jobs.api.caller import Called
from jobs.api.refusals import locked_is_told, own_id, refuse
from jobs.intake.enqueue import InvalidJob
from jobs.models import Job
from opsconsole.kit import job_ids
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.problems import Problem
from opsconsole.kit.storable import json_problem
from opsconsole_worker.runs import heartbeats, lifecycle, progress
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Refusal, Refused, Run
from opsconsole_worker.runs.progress import Progress

workers = Router(tags=["For workers"])

register_converter(job_ids.NumberConverter, "job_number")


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/claim",
    response=schemas.ClaimedRun,
    operation_id="claim_run",
    summary="Claim the run, then delete the message",
)
def claim_run(request: Called, job_id: JobId, body: schemas.ClaimRequest) -> Any:
    """200: the run belongs to this worker alone. Delete the message; from now on the database owns the run.

    409 and 404: `reason` says why the claim was refused. With `settled: true`, delete the message too. Otherwise
    return it to the queue for `retryAfter` seconds.

    When the answer is lost, or its `outcome` is `unknown`, the run may already belong to this worker. Repeat the request
    with `asked_before: true`: without it, the repeated claim is refused as `already_claimed`.
    """
    claimed = lifecycle.claim(
        job_id,
        body.run_epoch,
        _worker(request, body),
        dead_letter_id=body.dead_letter_id,
        asked_before=body.asked_before,
    )
    if isinstance(claimed, Refused):
        refuse(claimed)
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
def beat_run(request: Called, job_id: JobId, body: schemas.RunSaid) -> Any:
    """Call this every `beat_every_seconds`, from a thread or timer that ends with the worker."""
    _known(job_id)
    with own_id():
        return {"verdict": _VERDICTS[heartbeats.beat(_worker(request, body), job_id, body.run_epoch)]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/progress",
    response=schemas.Verdict,
    operation_id="note_progress",
    summary="Record what the run has done",
)
def note_progress(request: Called, job_id: JobId, body: schemas.ProgressRequest) -> Any:
    """Operators read the notes before they requeue the job. A note is kept whatever the verdict is.

    When the answer is lost, repeat the request with the same `once` and `asked_before: true`: the note is kept once.
    """
    _known(job_id)
    with own_id():
        lifecycle.note(
            _run(request, job_id, body),
            body.note,
            reference=body.reference,
            once=body.once,
            asked_before=body.asked_before,
        )
    return {"verdict": _VERDICTS[heartbeats.verdict(job_id, body.run_epoch, _worker(request, body))]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/percent",
    response=schemas.Verdict,
    operation_id="report_progress",
    summary="Say how far the run is",
)
def report_progress(request: Called, job_id: JobId, body: schemas.PercentRequest) -> Any:
    """The job's page shows it, and the next run of the job receives the last one with its claim.

    Each report replaces the one before, so send only the newest, every few seconds. A run that no longer counts reports nothing.
    """
    _known(job_id)
    percent, text = progress.checked_progress(body.percent, body.text)
    with own_id():
        verdict = progress.report(_worker(request, body), job_id, body.run_epoch, percent, text)
    return {"verdict": _VERDICTS[verdict]}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/complete",
    response=schemas.Ending,
    operation_id="complete_run",
    summary="Complete the run",
)
def complete_run(request: Called, job_id: JobId, body: schemas.CompleteRequest) -> Any:
    """409: the run was superseded or cancelled. The result is recorded on the timeline and changes nothing.

    Repeating the request is harmless: do so when the connection breaks.
    """
    if problem := json_problem(body.details):
        raise InvalidJob(f"details can't be stored: {problem}.")
    _known(job_id)
    with locked_is_told():
        counted = lifecycle.complete(_run(request, job_id, body), body.details)
    if not counted:
        _refuse_late(request, job_id, body)
    return {"outcome": "completed"}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/fail",
    response=schemas.Ending,
    operation_id="fail_run",
    summary="Report that the run failed",
)
def fail_run(request: Called, job_id: JobId, body: schemas.FailRequest) -> Any:
    """While attempts are left, the job runs again after a backoff. Otherwise it has failed permanently.

    409: the run was superseded or cancelled. The report is recorded on the timeline and changes nothing.
    """
    _known(job_id)
    with locked_is_told():
        failure = lifecycle.fail(_run(request, job_id, body), body.error, retryable=body.retryable)
    if failure is Failure.REJECTED:
        _refuse_late(request, job_id, body)
    return {"outcome": failure.value}


@workers.post(
    "workers/beat",
    response={200: schemas.IdleAnswer, 204: None},
    operation_id="beat_idle",
    summary="Report that an idle worker is alive, and learn whether its queue is paused",
)
def beat_idle(request: Called, body: schemas.IdleRequest) -> Any:
    """Idle workers send heartbeats too, so that pages and alerts count them as alive.

    With `queue`, the answer is 200 and says whether an operator paused the work on it. Without, it is 204.
    """
    worker = _worker(request, body)
    with own_id():
        heartbeats.say(worker)
    if body.given_back:
        heartbeats.count_given_back(worker, locked=body.given_back.locked, refused=body.given_back.refused)
    if body.queue is None:
        return Status(204, None)
    pause = lifecycle.paused(body.queue)
    return Status(200, {"paused": {"by": pause[0], "reason": pause[1]} if pause else None})


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/put-off",
    response=schemas.PutOff,
    operation_id="put_off_run",
    summary="Have the message of a waiting run sent again later",
)
def put_off_run(request: Called, job_id: JobId, body: schemas.PutOffRequest) -> Any:
    """For a message whose claim was refused as `locked` or `refused_by_database` twice or more.

    SQS makes a dead letter of a message that is received too often. The console sends a new one instead.
    """
    delay = timedelta(seconds=body.seconds)
    return {"posted": lifecycle.put_off(job_id, body.run_epoch, delay)}


@workers.post(
    f"jobs/{{{job_ids.CONVERTER}:job_id}}/give-back",
    response=schemas.GivenBackRun,
    operation_id="give_back_run",
    summary="Give back a run that never began",
)
def give_back_run(request: Called, job_id: JobId, body: schemas.WorkerSaid) -> Any:
    """For a worker that is told to stop while it does not know whether it has claimed the run.

    If it has, the job runs again at once, as its next run.
    """
    return {"given_back": lifecycle.give_back(job_id, _worker(request, body))}


@workers.post("workers/leave", response={204: None}, operation_id="leave", summary="Remove the worker's row")
def leave(request: Called, body: schemas.WorkerSaid) -> Any:
    """For a worker that ends normally. A killed worker leaves its row behind, which is how its death is noticed."""
    with own_id():
        heartbeats.leave(_worker(request, body))
    return Status(204, None)


_VERDICTS = {
    Verdict.GO_ON: "continue",
    Verdict.CANCELLED: "cancelled",
    Verdict.SUPERSEDED: "superseded",
}


def _worker(request: Called, body: schemas.WorkerSaid) -> Worker:
    key = str(request.auth.lineage)
    return Worker(body.worker_id, hostname=body.hostname, pid=body.pid, start=body.start, key=key)


def _run(request: Called, job_id: JobId, body: schemas.RunSaid) -> Run:
    return Run(job_id, body.run_epoch, _worker(request, body))


def _known(job_id: JobId) -> None:
    if not Job.objects.filter(pk=job_id).exists():
        refuse(Refused(Refusal.UNKNOWN_JOB))


def _refuse_late(request: Called, job_id: JobId, body: schemas.RunSaid) -> NoReturn:
    verdict = _VERDICTS[heartbeats.verdict(job_id, body.run_epoch, _worker(request, body))]
    why = "cancelled" if verdict == "cancelled" else "superseded"
    raise Problem(
        409, f"The run was {why}: the report was recorded and changes nothing.", reason=why, settled=True
    )
