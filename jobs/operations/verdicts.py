"""Verdicts of operations on jobs: what would happen to a job in its present state, in a sentence. All pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.conf import settings

from jobs.models import Job, Status
from jobs.models.columns import JOBS
from jobs.models.job import JobWithEvidence
from jobs.operations.steps import JobAction, Step
from jobs.runs import status_wording
from jobs.runs.diagnosis import Reason, diagnose
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell

# What is decided about a job of these statuses depends on signs of life, too. About all others, these columns decide.
NEED_EVIDENCE = (Status.IN_PROGRESS, Status.CANCELLED)
_OLD_KIND = "Its worker cannot be told to stop: if it lives, both runs go on, and what it reports is kept."
DECIDING = ("status", "queue", "run_epoch", "recovery_count")


def step_for(action: str, job: JobWithEvidence) -> Step:
    """Return the decision for one job that was loaded by ``with_evidence()``. Pure."""
    will, sentence = _JUDGES[action](job)
    reason = diagnose(job).reason or ""
    return Step(job.pk, action, job.status, job.run_epoch, str(reason), will, sentence)


def step_for_all_with(action: str, status: str, queue: str, run_epoch: int, recovery_count: int) -> Step:
    """Return the decision for each job with these values, whose status needs no evidence. Pure; the step names no job."""
    example = Job(status=status, queue=queue, run_epoch=run_epoch, recovery_count=recovery_count)
    return step_for(action, cast(JobWithEvidence, example))


def _judge_requeue(job: JobWithEvidence) -> tuple[bool, str]:
    again = f"Will wait for run {job.run_epoch + 1}{sending(job)}"
    if job.status == Status.IN_PROGRESS:
        return _judge_requeue_of_running(job, again)
    if job.status == Status.CANCELLED and job.beat_at and job.beat_at >= job.stale_before:
        ago = spell(job.read_at - job.beat_at)
        return (
            False,
            f"Its worker still sent a heartbeat for the cancelled run {ago} ago. Wait until it has stopped.",
        )
    if job.status in {Status.FAILED, Status.CANCELLED}:
        return True, again
    if job.status == Status.QUARANTINED:
        return False, "It is quarantined. Release it instead."
    return False, "It is already waiting." if job.status == Status.PENDING else _left_alone(job)


def sending(job: Job) -> str:
    """Say when the message of a job that will wait again is sent, behind the sentence that says so."""
    if job.queue in settings.QUEUES:
        return ", and its message will be sent."
    return f". Its message will be sent once its queue '{job.queue}' is configured."


def _judge_requeue_of_running(job: JobWithEvidence, again: str) -> tuple[bool, str]:
    diagnosis = diagnose(job)
    if diagnosis.stale or diagnosis.reason in {Reason.HUNG, Reason.UNKNOWN}:
        late = (
            "Anything the old run still reports will be refused."
            if job.claimed_epoch is not None
            else _OLD_KIND
        )
        return True, f"{diagnosis.sentence} {again} {late}"
    return False, f"{diagnosis.sentence} Cancel it first if it must not continue."


def _judge_cancel(job: JobWithEvidence) -> tuple[bool, str]:
    if JOBS.written(Status.CANCELLED) is None:
        return False, JOBS.no_word(Status.CANCELLED)
    if job.status == Status.PENDING:
        return True, "Will not run."
    if job.status == Status.IN_PROGRESS and job.claimed_epoch is None:
        return True, "Its worker cannot be told to stop. If it finishes, its result is kept."
    if job.status == Status.IN_PROGRESS and diagnose(job).stale:
        return (
            True,
            "Its worker no longer sends heartbeats for it. If it does again, it will be told to stop; its result will be refused.",
        )
    if job.status == Status.IN_PROGRESS:
        return (
            True,
            f"Worker {job.worker_id} will be told with its next heartbeat, and its result will be refused.",
        )
    return False, _left_alone(job)


def _judge_release(job: JobWithEvidence) -> tuple[bool, str]:
    if job.status == Status.QUARANTINED:
        forgiven = exactly(job.recovery_count, "recovery", "recoveries")
        return True, f"Will wait for run {job.run_epoch + 1}{sending(job)} {forgiven} will be forgiven."
    return False, _left_alone(job)


def _left_alone(job: JobWithEvidence) -> str:
    if job.status in Status.values:
        return f"It is {status_wording.within_sentence(job.status)}: nothing to do."
    return f"Its status '{job.status}' is not known to the console, so it is left alone."


_JUDGES: dict[str, Callable[[JobWithEvidence], tuple[bool, str]]] = {
    JobAction.REQUEUE: _judge_requeue,
    JobAction.CANCEL: _judge_cancel,
    JobAction.RELEASE: _judge_release,
}
