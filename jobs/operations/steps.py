"""Steps and outcomes: what an operation would do to each job or dead letter, and what it did."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError
from django.db.models import TextChoices

from opsconsole.kit import activity
from opsconsole.kit.errors import OpsConsoleError, first_line
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown
from opsconsole.kit.row_locks import waited_in_vain


class OperationRefused(OpsConsoleError):
    """An operation can't be started; the message says what is missing."""


class JobAction(TextChoices):
    REQUEUE = "requeue", "requeue"
    CANCEL = "cancel", "cancel"
    RELEASE = "release", "release from quarantine"


@dataclass(frozen=True)
class Step:
    """What will happen to one job, frozen with what was seen of it. ``will`` False: it is skipped.

    ``seen_reason`` is the diagnosis at that time ('' for none): an operator who saw a dead worker has not
    decided about a worker that is alive. ``jobs.dead_letters.operations`` makes the same kind of steps.
    """

    job_id: UUID
    action: str
    seen_status: str
    seen_epoch: int
    seen_reason: str
    will: bool
    sentence: str


LOCKED_BY_OTHERS = (
    "It is locked by others: another transaction has not ended that changes it or a row that belongs to it. "
    "Nothing was changed. Try again."
)


@dataclass(frozen=True)
class Outcome:
    """The outcome for one job. ``failed``: it should have been done, but the database refused it or others locked it."""

    job_id: UUID
    done: bool
    sentence: str
    failed: bool = False

    @classmethod
    def of_refusal(cls, step: Step, error: DatabaseError) -> Outcome:
        """Return the outcome for a job or letter whose change failed in the database: refused, or unknown (I14)."""
        if waited_in_vain(error):
            return cls.locked_by_others(step)
        sentence = f"The database refused it, nothing was changed: {first_line(error)}"
        if isinstance(error, OutcomeUnknown):
            sentence = Kept.UNKNOWN.sentence
        return cls(step.job_id, done=False, sentence=sentence, failed=True)

    @classmethod
    def locked_by_others(cls, step: Step) -> Outcome:
        """Return the outcome for a job or letter that another transaction held for too long."""
        return cls(step.job_id, done=False, sentence=LOCKED_BY_OTHERS, failed=True)


def log_refusals(subject: str, steps: Sequence[Step], outcomes: Sequence[Outcome], actor: str) -> None:
    """Write a line for each job or letter (``subject``) of which what was asked for was not done."""
    for step, outcome in zip(steps, outcomes, strict=True):
        if not outcome.done:
            level = logging.WARNING if outcome.failed else logging.INFO
            facts = {subject: step.job_id, "actor": actor, "why": outcome.sentence}
            activity.done(f"{step.action} refused", level=level, **facts)
