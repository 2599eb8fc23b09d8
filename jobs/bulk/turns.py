"""Turns: bulk operations under way that have not come to a job yet, and what they will do to it then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.bulk.registry import kind_of
from jobs.models import BulkMember, BulkOperation, Job
from jobs.models.job import JobWithEvidence
from jobs.operations.verdicts import step_for
from opsconsole.kit.one_statement import Reading, records_of


@dataclass(frozen=True)
class Turn:
    """What the operation with this number will do to a job. ``will`` False: it will leave the job alone.

    ``sentence`` goes on after the name of the operation.
    """

    operation: int
    will: bool
    sentence: str


def of_job(job: JobWithEvidence) -> Reading[Sequence[Turn]]:
    """Read the turns of a job that was loaded by ``with_evidence()``, those of the oldest operation first."""
    members = BulkMember.objects.filter(
        subject=str(job.pk),
        # The index by subject has these.
        settled_at=None,
        outcome=BulkMember.Outcome.WAITING,
        operation__state=BulkOperation.State.RUNNING,
    )
    columns = members.order_by("operation").values_list(
        "operation", "operation__action", "seen_status", "seen_epoch"
    )
    return records_of(columns).then(lambda rows: [turn for row in rows if (turn := _turn(job, *row))])


def _turn(job: JobWithEvidence, operation: int, action: str, status: str, epoch: int | None) -> Turn | None:
    """Return what an operation does to the job as it is now. Pure; None where the id is that of a letter."""
    kind = kind_of(action)
    if kind.model is not Job:
        return None
    if (job.status, job.run_epoch) != (status, epoch):
        return Turn(operation, will=False, sentence="will leave it alone: it changed since it was chosen.")
    step = step_for(action, job)
    if not step.will:
        return Turn(operation, will=False, sentence=f"will leave it alone as it is now. {step.sentence}")
    verb = kind.verb.lower()
    return Turn(
        operation,
        will=True,
        sentence=f"will {verb} it, unless it changes or the operation stops before its turn.",
    )
