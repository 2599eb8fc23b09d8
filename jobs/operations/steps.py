"""Steps and outcomes: what an operation would do to each job or dead letter, and what it did."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from django.db import DatabaseError
from django.db.models import TextChoices

from opsconsole.kit import activity
from opsconsole.kit.errors import OpsConsoleError, first_line
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown
from opsconsole.kit.row_locks import waited_in_vain
from opsconsole_worker.database.troubles import Trouble, headline, trouble_behind

# Writes who did it elsewhere, such as in the audit, in the transaction that changes jobs or letters: given the sentence of each.
Record: TypeAlias = Callable[[Mapping[UUID, str]], object]


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

    def saw_the_same_as(self, other: Step) -> bool:
        """Tell whether both were planned from the same state, run and reason."""
        mine = self.seen_status, self.seen_epoch, self.seen_reason
        return mine == (other.seen_status, other.seen_epoch, other.seen_reason)


LOCKED_BY_OTHERS = (
    "It is locked by others: another transaction has not ended that changes it or a row that belongs to it. "
    "Nothing was changed. Try again."
)


@dataclass(frozen=True)
class Outcome:
    """The outcome for one job. ``failed``: it should have been done, but the database refused it or others locked it.

    ``unknown``: nobody knows whether it was done.
    """

    job_id: UUID
    done: bool
    sentence: str
    failed: bool = False
    unknown: bool = False

    @classmethod
    def of_refusal(cls, step: Step, error: DatabaseError) -> Outcome:
        """Return the outcome for a job or letter whose change failed in the database: refused, or unknown (I14)."""
        if waited_in_vain(error):
            return cls.locked_by_others(step)
        if isinstance(error, OutcomeUnknown):
            return cls(step.job_id, done=False, sentence=Kept.UNKNOWN.sentence, failed=True, unknown=True)
        trouble = unusable(error)
        why = headline(trouble) if trouble else "The database refused it"
        sentence = f"{why}, nothing was changed: {first_line(error)}"
        return cls(step.job_id, done=False, sentence=sentence, failed=True)

    @classmethod
    def of_step(cls, step: Step, error: DatabaseError) -> Outcome:
        """Return the outcome of a step that was not tried, or failed: one that had nothing to do says so."""
        return (
            cls.of_refusal(step, error) if step.will else cls(step.job_id, done=False, sentence=step.sentence)
        )

    @classmethod
    def locked_by_others(cls, step: Step) -> Outcome:
        """Return the outcome for a job or letter that another transaction held for too long."""
        return cls(step.job_id, done=False, sentence=LOCKED_BY_OTHERS, failed=True)


def unusable(error: DatabaseError) -> Trouble | None:
    """Return the state of the database in which no row can be changed, so that none was refused; None for other errors."""
    trouble = trouble_behind(error.__cause__ or error)
    return trouble if trouble in (Trouble.AWAY, Trouble.NO_TRANSACTIONS, Trouble.READ_ONLY) else None


def require_usable(outcomes: Sequence[Outcome], errors: Sequence[DatabaseError]) -> None:
    """Raise the first of these errors, by which the database could not be used, where nothing was done before it."""
    if errors and not any(outcome.done or outcome.unknown for outcome in outcomes):
        raise errors[0]


def tell_refusals(
    subject: str,
    steps: Sequence[Step],
    outcomes: Sequence[Outcome],
    actor: str,
    errors: Sequence[DatabaseError],
) -> None:
    """Write a line for each job or letter (``subject``) of which what was asked for was not done; see ``require_usable``."""
    require_usable(outcomes, errors)
    for step, outcome in zip(steps, outcomes, strict=True):
        if not outcome.done:
            level = logging.WARNING if outcome.failed else logging.INFO
            facts = {subject: step.job_id, "actor": actor, "why": outcome.sentence}
            activity.done(f"{step.action} refused", level=level, **facts)
