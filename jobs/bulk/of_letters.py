"""Replay, discard and restore of many dead letters, by the same plan and guards as of one.

What is done here is to write wishes with their ledger; ``jobs.dead_letters.work`` talks to SQS, in the order of
the wishes. So a chunk is one transaction, and the members' order (as they were sent) is the order of the replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django_q.tasks import async_task

from jobs.bulk.kinds import Kind, Order, Plan, Result, Trial
from jobs.dead_letters import operations
from jobs.dead_letters.ledger import Action
from jobs.dead_letters.operations import Step
from jobs.models import BulkMember, DeadLetter, Status
from jobs.operations import Outcome

# FIFO queues promise the order of sending within a group.
AS_SENT = ("sent_at", "pk")


def _plan(action: Action, subjects: Sequence[str]) -> list[Plan]:
    steps = operations.plan(action, _ids(subjects))
    return [
        Plan(str(step.job_id), step.seen_status, step.seen_epoch, step.seen_reason, step.will, step.sentence)
        for step in steps
    ]


def _ids(subjects: Sequence[str]) -> list[UUID]:
    return [UUID(subject) for subject in subjects]


def _carry_out(action: Action, order: Order) -> list[Result]:
    steps = [_as_seen(action, member) for member in order.members]
    outcomes = operations.carry_out(steps, order.actor, order.reason)
    # Committed with the wishes; the cluster would look within the minute anyway.
    async_task("jobs.tasks.work_dead_letters", group="dead letters")
    return [Result(str(outcome.job_id), _settled(outcome), outcome.sentence) for outcome in outcomes]


def _as_seen(action: Action, member: BulkMember) -> Step:
    return Step(
        job_id=UUID(member.subject),
        action=action,
        seen_status=member.seen_status,
        seen_epoch=member.seen_epoch or 0,
        seen_reason=member.seen_reason,
        will=member.will,
        sentence=member.sentence,
    )


def _settled(outcome: Outcome) -> BulkMember.Outcome:
    if outcome.failed:
        return BulkMember.Outcome.FAILED
    return BulkMember.Outcome.DONE if outcome.done else BulkMember.Outcome.SKIPPED


def came_back(subjects: Sequence[str]) -> int:
    return operations.came_back(_ids(subjects))


def came_through(subjects: Sequence[str]) -> int:
    """How many of these letters were replayed for a job that is completed since."""
    return DeadLetter.objects.filter(pk__in=_ids(subjects), job__status=Status.COMPLETED).count()


def _customers(subjects: Sequence[str]) -> dict[str, str]:
    """Whose job each letter names; the queue of one that names none."""
    letters = DeadLetter.objects.filter(pk__in=_ids(subjects))
    told = letters.values_list("pk", "job__customer_id", "queue")
    return {str(pk): customer or queue for pk, customer, queue in told}


def _kind(action: Action, verb: str, done_word: str, permission: str, trial: Trial | None = None) -> Kind:
    return Kind(
        action=action.value,
        model=DeadLetter,
        page="jobs_deadletter",
        one="dead letter",
        many="dead letters",
        verb=verb,
        done_word=done_word,
        permission=f"jobs.{permission}_deadletter",
        order=AS_SENT,
        plan=partial(_plan, action),
        carry_out=partial(_carry_out, action),
        describe=_customers,
        states=dict(DeadLetter.State.choices),
        trial=trial,
    )


KINDS = (
    _kind(
        Action.REPLAY,
        "Replay",
        "decided to be replayed",
        "replay",
        Trial(came_back=came_back, came_through=came_through),
    ),
    _kind(Action.DISCARD, "Discard", "discarded", "discard"),
    _kind(Action.RESTORE, "Restore", "restored", "discard"),
)
