"""Jobs: list, show, requeue, cancel, release."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from ninja import Query, Router

from jobs.admin.jobs import changelist, job_page, job_panel
from jobs.bulk.registry import kind_of
from jobs.models import Job, JobEvent
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.operations.verdicts import step_for
from jobs.operator_api import job_schemas
from jobs.operator_api.choosing import chosen
from jobs.operator_api.outcomes import actor_of, refuse
from jobs.runs.diagnosis import diagnose
from opsconsole.kit import job_ids, operator_api
from opsconsole.kit.job_ids import JobId
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.principal import Principal
from opsconsole.kit.problems import Problem

VIEW = "jobs.view_job"
OPERATE = "jobs:operate"
EVENTS_SHOWN = 50
ONE = f"operator/jobs/{{{job_ids.CONVERTER}:job_id}}"

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


@operating.post(
    f"{ONE}/requeue", response=job_schemas.JobChanged, operation_id="requeue_job", summary="Requeue a job"
)
def requeue_job(request: OperatorRequest, job_id: JobId, change: Change) -> Any:
    """Send the job again as a new run, with the guards of the page.

    A run is requeued if it is stale, past its deadline, or silent without a proof that its worker died. Any other running
    one is refused: cancel it first.

    409 with `reason` `changed`: the job is not as you saw it. `refused`: it is, and can't be requeued; `detail` says why. In
    both cases `current` is the job as it is now, and nothing was changed.
    """
    return _act(request, JobAction.REQUEUE, job_id, change)


@operating.post(
    f"{ONE}/cancel", response=job_schemas.JobChanged, operation_id="cancel_job", summary="Cancel a job"
)
def cancel_job(request: OperatorRequest, job_id: JobId, change: Change) -> Any:
    """A waiting job will not run. A running worker that uses the console's protocol learns it from its next heartbeat."""
    return _act(request, JobAction.CANCEL, job_id, change)


@operating.post(
    f"{ONE}/release",
    response=job_schemas.JobChanged,
    operation_id="release_job",
    summary="Release a job from quarantine",
)
def release_job(request: OperatorRequest, job_id: JobId, change: Change) -> Any:
    """Send a quarantined job again, and forget how often it was recovered."""
    return _act(request, JobAction.RELEASE, job_id, change)


@reading.get("operator/jobs", response=job_schemas.JobList, operation_id="list_jobs", summary="List jobs")
def list_jobs(request: OperatorRequest, query: Query[job_schemas.JobsQuery]) -> Any:
    """Return jobs newest first, with the filters of the page *Jobs*. Nothing is counted."""
    request.auth.require(VIEW)
    operator_api.refuse_unknown(request, job_schemas.JobsQuery)
    after = operator_api.read_cursor(query, job_ids.parse)
    asked = query.model_dump(exclude={"limit", "after", "q"}, exclude_none=True)
    choice = chosen(request, Job, asked, query.q or "")
    ids, following = choice.changelist.ids_after(after, query.limit)
    return {
        "jobs": [item(job) for job in changelist.shown(ids)],
        "next": operator_api.next_text(query, following),
    }


@reading.get(ONE, response=job_schemas.ShownJob, operation_id="show_job", summary="Show a job")
def show_job(request: OperatorRequest, job_id: JobId) -> Any:
    """Return the job, what is wrong with it, what each action and each bulk operation under way would do, and its newest events."""
    request.auth.require(VIEW)
    job = load(job_id)
    why = job_panel.why(job, job_panel.waits_of(job), request.auth)
    events = JobEvent.objects.filter(job_id=job.pk).order_by("-id")[:EVENTS_SHOWN]
    hidden = not request.auth.sees_payloads
    return {
        "job": item(job),
        "diagnosis": diagnose(job).sentence,
        "why": why and why.sentence,
        "actions": [
            _step(step_for(action, job)) for action in JobAction if _may(request.auth, _permission(action))
        ],
        "turns": [job_schemas.Turn.of(turn) for turn in job_page.bulk_turns(job, request.auth)],
        "payload": None if hidden else Job.objects.values_list("payload", flat=True).get(pk=job.pk),
        "payload_hidden": hidden,
        "events": [_event(event) for event in events],
    }


def _act(request: OperatorRequest, action: JobAction, job_id: JobId, change: Change) -> dict[str, Any]:
    request.auth.require(VIEW, _permission(action))
    job = load(job_id)
    seen = as_json(job)
    operator_api.refuse_if_changed(change.version, seen)
    step = step_for(action, job)
    if not step.will:
        raise operator_api.refused(step.sentence, seen)
    record = partial(_log, request, action, change.reason)
    [outcome] = job_operations.carry_out([step], actor_of(request), change.reason, record=record)
    now = load(job_id)
    if not outcome.done:
        refuse(outcome, as_json(now))
    return {"sentence": outcome.sentence, "job": item(now)}


def _log(request: OperatorRequest, action: JobAction, reason: str, written: Mapping[UUID, str]) -> None:
    for job in Job.objects.defer("payload", "error_message").filter(pk__in=written):
        operator_api.log(request, [job], kind_of(action).did, why=reason, result=written[job.pk])


def _may(principal: Principal, permission: str) -> bool:
    """Tell whether the key may act: it may have the permission for another scope, such as jobs:edit."""
    return OPERATE in principal.scopes and principal.has_perm(permission)


def _permission(action: JobAction) -> str:
    return kind_of(action).permission


def load(job_id: JobId) -> Any:
    """Return the job as lists show it. Raise ``Problem`` if there is none."""
    jobs = Job.objects.with_evidence().with_message().defer("payload").filter(pk=job_id)
    if found := changelist.with_troubles(list(jobs)):
        return found[0]
    raise unknown_job()


def unknown_job() -> Problem:
    return Problem(404, "There is no job with this id.", reason="unknown_job")


def item(job: Any) -> job_schemas.JobItem:
    """Return a job that was loaded as lists show it."""
    trouble = diagnose(job).reason
    return job_schemas.JobItem(
        id=job.pk,
        status=job.status,
        customer_id=job.customer_id,
        priority=job.priority_level,
        queue=job.queue,
        run=job.run_epoch,
        recoveries=job.recovery_count,
        attempts=job.attempts,
        worker_id=job.worker_id,
        error_message=job.error_message,
        trouble=trouble and trouble.value,
        message_trouble=job.message_trouble and str(job.message_trouble),
        created_at=job.created_at,
        updated_at=job.updated_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        last_beat_at=job.beat_at,
        version=operator_api.version_of(job, job.status, job.run_epoch, trouble and trouble.value),
    )


def as_json(job: Any) -> dict[str, Any]:
    return item(job).model_dump(mode="json")


def _step(step: Any) -> job_schemas.Step:
    return job_schemas.Step(action=step.action, will=step.will, sentence=step.sentence)


def _event(event: JobEvent) -> job_schemas.JobEventItem:
    details = event.details if isinstance(event.details, dict) else {}
    return job_schemas.JobEventItem(
        at=event.at,
        kind=event.kind,
        run=event.run_epoch,
        actor=event.actor,
        reason=event.reason,
        note=str(details.get("note", "")),
        reference=str(details.get("reference", "")),
    )
