"""Locks of letters and their jobs for operations: in one order, and for a limited time."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import OperationalError
from django.db.models import QuerySet

from jobs.models import DeadLetter, Job
from jobs.operations.steps import LOCKED_BY_OTHERS, OperationRefused, Step
from opsconsole.kit.row_locks import WaitBudget, locked, waited_in_vain

GONE = "The letter was deleted a moment ago, because its retention had ended. Nothing was changed."


def named(steps: Sequence[Step]) -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(pk__in=[step.job_id for step in steps])


def lock(steps: Sequence[Step], budget: WaitBudget) -> dict[UUID, DeadLetter]:
    """Lock these letters and return them by id, except for those that others hold, or whose job they hold.

    Their jobs are locked first, as in a requeue from a job's page: the opposite order could deadlock. Both are
    locked in the order of their ids, so that two operators never wait for each other at once.
    """
    jobs = Job.objects.filter(pk__in=named(steps).values("job_id")).order_by("pk")
    held = budget.lock(jobs.values_list("pk", flat=True))
    letters = DeadLetter.objects.light().select_related("dlq").filter(pk__in=[step.job_id for step in steps])
    # A letter may name a job that does not exist: nobody holds it.
    letters = letters.exclude(job_id__in=jobs.exclude(pk__in=held).values("pk"))
    return {letter.pk: letter for letter in budget.lock(letters.order_by("pk"), of=("self",))}


class LetterGone(OperationRefused):
    """The letter is no longer there: retention deletes those that were settled long ago."""


def lock_one(letter_id: UUID) -> DeadLetter:
    """Lock the letter, and return it as it is now. Raise ``OperationRefused`` while somebody else has it locked.

    Raise ``LetterGone`` if it was deleted since it was looked at.
    """
    try:
        held = locked(DeadLetter.objects.only("pk")).filter(pk=letter_id).first()
    except OperationalError as error:
        if waited_in_vain(error):
            raise OperationRefused(LOCKED_BY_OTHERS) from error
        raise
    if held is None:
        raise LetterGone(GONE)
    return DeadLetter.objects.select_related("group", "dlq").defer("words").get(pk=letter_id)


def existing(steps: Sequence[Step]) -> set[UUID]:
    return set(named(steps).values_list("pk", flat=True)) if steps else set()


def wave(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """Return (steps of which no two concern the same job, the others): requeueing a job changes its other letters."""
    jobs = dict(named(steps).values_list("pk", "job_id"))
    now: dict[UUID, Step] = {}
    later = []
    for step in steps:
        subject = jobs.get(step.job_id) or step.job_id
        if subject in now:
            later.append(step)
        else:
            now[subject] = step
    return list(now.values()), later
