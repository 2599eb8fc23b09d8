"""Turns: bulk operations under way that have not come to a job or dead letter yet, and what they will do to it then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Model, QuerySet

from jobs.bulk.registry import KINDS
from jobs.dead_letters import operations
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import BulkMember, BulkOperation, DeadLetter, Job
from jobs.models.job import JobWithEvidence
from jobs.operations import job_operations
from jobs.operations.steps import Step
from opsconsole.kit.one_statement import Reading, models_of
from opsconsole.kit.short_ids import short_id

# Of a group, the operations that will act on these letters are read: a page never looks at a million of them.
MOST_OF_A_GROUP = 1_000
# OFFSET 0: without statistics, PostgreSQL would look through all members of an operation for each letter.
_OF_A_GROUP = """
SELECT json_agg(json_build_array(turn.operation_id, turn.action, turn.letters, EXISTS (
           SELECT FROM dead_letters WHERE group_id = %s ORDER BY first_seen_at DESC, id DESC OFFSET %s
       )) ORDER BY turn.operation_id)
  FROM (SELECT member.operation_id, operation.action, count(*) AS letters
          FROM (SELECT id FROM dead_letters WHERE group_id = %s ORDER BY first_seen_at DESC, id DESC LIMIT %s) AS letter
         CROSS JOIN LATERAL (
               SELECT operation_id FROM bulk_members
                WHERE subject = letter.id::text AND settled_at IS NULL AND outcome = 'waiting' AND will
               OFFSET 0) AS member
          JOIN bulk_operations AS operation ON operation.id = member.operation_id AND operation.state = 'running'
         GROUP BY member.operation_id, operation.action) AS turn
"""
# The newest letters of a job.
MOST_OF_A_JOB = 20
_OF_LETTERS_OF_A_JOB = """
SELECT json_agg(json_build_array(operation.id, letter.id) ORDER BY operation.id)
  FROM (SELECT id, state FROM dead_letters WHERE job_id = %s ORDER BY first_seen_at DESC, id DESC LIMIT %s) AS letter
 CROSS JOIN LATERAL (
       SELECT operation_id FROM bulk_members
        WHERE subject = letter.id::text AND settled_at IS NULL AND outcome = 'waiting' AND will
          AND seen_status = letter.state AND seen_epoch = %s AND seen_reason = %s
       OFFSET 0) AS member
  JOIN bulk_operations AS operation ON operation.id = member.operation_id AND operation.state = 'running' AND operation.action = %s
"""


@dataclass(frozen=True)
class Turn:
    """What the operation with this number will do to a job or dead letter.

    ``will`` False: it will leave it alone, for the reason ``why``; '' means that it changed since it was chosen. ``what``: what
    it acts on, on the page about it.
    """

    operation: int
    action: str
    will: bool
    why: str = ""
    what: str = "it"

    @property
    def sentence(self) -> str:
        """Return what goes on after the name of the operation."""
        if self.will:
            verb = KINDS[self.action].verb.lower()
            return f"will {verb} {self.what}, unless it changes or the operation stops before its turn."
        if self.why:
            return f"will leave it alone as it is now. {self.why}"
        return "will leave it alone: it changed since it was chosen."


@dataclass(frozen=True)
class GroupTurn:
    """How many letters of a failure group an operation will act on, as far as they don't change before.

    ``beyond``: the group has more letters than were looked at.
    """

    operation: int
    action: str
    letters: int
    beyond: bool

    @property
    def sentence(self) -> str:
        """Return what goes on after the name of the operation."""
        kind = KINDS[self.action]
        of_newest = f"{self.letters:,} of the newest {MOST_OF_A_GROUP:,} dead letters of this group"
        letters = of_newest if self.beyond else f"{kind.count(self.letters)} of this group"
        unless = "unless it changes" if self.letters == 1 else "unless they change"
        return f"will {kind.verb.lower()} {letters}, {unless} or the operation stops before."


def of_job(job: JobWithEvidence) -> Reading[Sequence[Turn]]:
    """Read the turns of a job that was loaded by ``with_evidence()``, those of the oldest operation first."""

    def turn(operation: int, step: Step) -> Turn:
        if not job_operations.is_as_seen(job, step):
            return Turn(operation, step.action, will=False)
        why = job_operations.second_thought(step, job)
        return Turn(operation, step.action, not why, why)

    return _read(job, Job, turn)


def of_letters_of(job: Job) -> Reading[Sequence[Turn]]:
    """Read the operations that will replay a letter of the job, which requeues it, as far as both are as they were chosen."""
    params = (job.pk, MOST_OF_A_JOB, job.run_epoch, str(job.status), LetterAction.REPLAY.value)
    return Reading(
        _OF_LETTERS_OF_A_JOB,
        params,
        lambda rows: [
            Turn(operation, LetterAction.REPLAY, will=True, what=f"its dead letter {short_id(letter)}")
            for operation, letter in rows or ()
        ],
    )


def of_letter(letter: DeadLetter, job: NamedJob | None) -> Reading[Sequence[Turn]]:
    """Read the turns of a letter and the job that it names, as ``requeue.jobs_of`` loads it, those of the oldest operation first.

    ``why`` may tell of the job.
    """

    def turn(operation: int, step: Step) -> Turn:
        now = operations.step_for(step.action, letter, job)
        if now.seen_status == step.seen_status and not now.will:
            return Turn(operation, step.action, will=False, why=now.sentence)
        return Turn(operation, step.action, now.saw_the_same_as(step))

    return _read(letter, DeadLetter, turn)


def of_group(group_id: int) -> Reading[Sequence[GroupTurn]]:
    """Read the turns of the newest letters of a failure group, counted by operation, those of the oldest operation first."""
    params = (group_id, MOST_OF_A_GROUP, group_id, MOST_OF_A_GROUP)
    return Reading(
        _OF_A_GROUP,
        params,
        lambda rows: [GroupTurn(*row) for row in rows or () if _is_about(row[1], DeadLetter)],
    )


def _waiting() -> QuerySet[BulkMember]:
    """Return the members that operations under way have not come to."""
    return BulkMember.objects.waiting().filter(
        # The index by subject has these.
        settled_at=None,
        operation__state=BulkOperation.State.RUNNING,
    )


def _read(subject: Model, model: type[Model], turn: Callable[[int, Step], Turn]) -> Reading[Sequence[Turn]]:
    members: QuerySet[Any] = _waiting().filter(subject=str(subject.pk)).order_by("operation")
    # Ids of jobs and letters may be alike, and another release may have begun what this one does not know.
    return models_of(members.annotate(action=F("operation__action"))).then(
        lambda rows: [
            turn(row.operation_id, KINDS[row.action].step_of(row))
            for row in rows
            if _is_about(row.action, model)
        ]
    )


def _is_about(action: str, model: type[Model]) -> bool:
    return action in KINDS and KINDS[action].model is model
