"""What an operator may do to dead letters: planned from what was seen, wished for on what is still so (I4, I9).

Nothing here talks to SQS. A wish is written with its ledger row; ``jobs.dead_letters.work`` fulfils it in the
cluster. The shapes are those of ``jobs.operations``: ``job_id`` is the letter's id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.dead_letters import ledger, requeue
from jobs.dead_letters.judging import judge
from jobs.dead_letters.ledger import Action
from jobs.models import DeadLetter, Job, ReplayAttempt, Status
from jobs.operations import OperationRefused, Outcome
from jobs.timeline import Actor

State = DeadLetter.State


@dataclass(frozen=True)
class Step:
    """What will happen to one letter, frozen with what was seen of it; ``will`` False: it is skipped.

    ``seen_epoch`` and ``seen_reason`` are the run and status of the job that it names (0 and '' for none).
    """

    job_id: UUID
    action: Action
    seen_status: str
    seen_epoch: int
    seen_reason: str
    will: bool
    sentence: str


def plan(action: Action, letter_ids: Iterable[UUID]) -> list[Step]:
    """Say for each of these letters what the action would do, in the order given. Unknown ids are left out."""
    ids = list(letter_ids)
    found = DeadLetter.objects.light().in_bulk(ids)
    jobs = requeue.jobs_of(found.values())
    letters = (found[letter_id] for letter_id in ids if letter_id in found)
    return [step_for(action, letter, jobs.get(letter.job_id)) for letter in letters]


def step_for(action: Action, letter: DeadLetter, job: Any) -> Step:
    """The decision for one letter and the job that it names, as ``requeue.jobs_of`` loads it. Pure."""
    action = Action(action)
    will, sentence = judge(action, letter, job)
    epoch, status = (job.run_epoch, str(job.status)) if job else (0, "")
    return Step(letter.pk, action, letter.state, epoch, status, will, sentence)


def carry_out(steps: Sequence[Step], actor: Actor, reason: str) -> list[Outcome]:
    """Write what was planned for each letter that is still as it was seen; each in a transaction of its own.

    Raises ``OperationRefused`` without a reason.
    """
    require(reason)
    return [_carry_out(step, actor, reason) for step in steps]


def require(reason: str) -> None:
    if not reason.strip():
        raise OperationRefused("Give a reason: it is kept in each letter's ledger.")


def _carry_out(step: Step, actor: Actor, reason: str) -> Outcome:
    if not step.will:
        return Outcome(step.job_id, done=False, sentence=step.sentence)
    with transaction.atomic():
        letter = locked(step)
        if letter is None:
            return Outcome(step.job_id, done=False, sentence=_changed(step))
        job = requeue.jobs_of([letter]).get(letter.job_id)
        again = step_for(step.action, letter, job)
        if not again.will:
            return Outcome(step.job_id, done=False, sentence=again.sentence)
        if (again.seen_epoch, again.seen_reason) != (step.seen_epoch, step.seen_reason):
            return Outcome(step.job_id, done=False, sentence=f"Its job changed meanwhile. {again.sentence}")
        done, sentence = _WRITES[Action(step.action)](letter, job, actor, reason)
        return Outcome(step.job_id, done=done, sentence=sentence)


def locked(step: Step) -> DeadLetter | None:
    """The letter, locked, if it is still in the state in which it was seen.

    Its job is locked first, as whoever requeues a job from its page does: the other order would be a deadlock.
    """
    named = DeadLetter.objects.filter(pk=step.job_id).values("job_id")
    Job.objects.filter(pk__in=named).select_for_update().first()
    letters = DeadLetter.objects.light().filter(pk=step.job_id, state=step.seen_status)
    return letters.select_for_update(of=("self",)).first()


def _changed(step: Step) -> str:
    now = DeadLetter.objects.light().filter(pk=step.job_id).first()
    if now is None:
        return "It is gone from the database."
    return f"It changed meanwhile: it is {now.get_state_display()} now."


def _become(letter: DeadLetter, state: DeadLetter.State) -> None:
    DeadLetter.objects.filter(pk=letter.pk).update(state=state)


def _replay(letter: DeadLetter, job: Any, actor: Actor, reason: str) -> tuple[bool, str]:
    if job is not None:
        return requeue.requeue(letter, job, actor, reason)
    want_sending(letter, actor, reason)
    return True, f"Waits to be sent to the queue {letter.queue}."


def want_sending(
    letter: DeadLetter, actor: Actor, reason: str, edited_body: str | None = None
) -> ReplayAttempt:
    """Wish that a locked letter is sent to its origin, perhaps with another body."""
    row = ledger.entry(
        letter,
        Action.REPLAY,
        ReplayAttempt.State.WANTED,
        actor,
        reason,
        from_copy=letter.state != State.IN_QUEUE,
        edited_body=edited_body,
    )
    row.save(force_insert=True)
    _become(letter, State.REPLAYING)
    return row


def _discard(letter: DeadLetter, job: Any, actor: Actor, reason: str) -> tuple[bool, str]:
    in_queue = letter.state == State.IN_QUEUE
    state = ReplayAttempt.State.WANTED if in_queue else ReplayAttempt.State.DONE
    ended_at = None if in_queue else Now()
    ledger.entry(
        letter, Action.DISCARD, state, actor, reason, from_copy=not in_queue, ended_at=ended_at
    ).save(force_insert=True)
    _become(letter, State.DISCARDED)
    return True, "Waits to be deleted from its queue." if in_queue else "Discarded."


def _restore(letter: DeadLetter, job: Any, actor: Actor, reason: str) -> tuple[bool, str]:
    """A discard that was not carried out yet is called off; else the letter lives on as the copy kept here."""
    called_off = ReplayAttempt.objects.filter(
        letter_id=letter.pk, action=Action.DISCARD, state=ReplayAttempt.State.WANTED
    ).update(state=ReplayAttempt.State.NOT_DONE, ended_at=Now(), outcome="Restored before it was deleted.")
    done = ReplayAttempt.State.DONE
    ledger.entry(letter, Action.RESTORE, done, actor, reason, ended_at=Now()).save(force_insert=True)
    _become(letter, State.IN_QUEUE if called_off else State.KEPT)
    return True, "Back in the list: it had not left its queue yet." if called_off else "Kept in the console."


def _mark_sent(letter: DeadLetter, job: Any, actor: Actor, reason: str) -> tuple[bool, str]:
    unknown = ReplayAttempt.objects.filter(letter_id=letter.pk, state=ReplayAttempt.State.UNKNOWN)
    said = f"{actor.name} said that it was sent."
    kept = unknown.filter(from_copy=True).update(state=ReplayAttempt.State.DONE, ended_at=Now(), outcome=said)
    unknown.update(state=ReplayAttempt.State.SENT, outcome=said)
    _note_mark(letter, Action.MARK_SENT, actor, reason)
    _become(letter, State.REPLAYED if kept else State.REPLAYING)
    return True, "Counts as replayed."


def _mark_not_sent(letter: DeadLetter, job: Any, actor: Actor, reason: str) -> tuple[bool, str]:
    unknown = ReplayAttempt.objects.filter(letter_id=letter.pk, state=ReplayAttempt.State.UNKNOWN)
    kept = unknown.filter(from_copy=True).exists()
    said = f"{actor.name} said that it was not sent."
    unknown.update(state=ReplayAttempt.State.NOT_DONE, ended_at=Now(), outcome=said)
    _note_mark(letter, Action.MARK_NOT_SENT, actor, reason)
    _become(letter, State.KEPT if kept else State.IN_QUEUE)
    return True, "Can be replayed again."


def _note_mark(letter: DeadLetter, action: Action, actor: Actor, reason: str) -> None:
    done = ReplayAttempt.State.DONE
    ledger.entry(letter, action, done, actor, reason, ended_at=Now()).save(force_insert=True)


_WRITES: dict[Action, Callable[[DeadLetter, Any, Actor, str], tuple[bool, str]]] = {
    Action.REPLAY: _replay,
    Action.DISCARD: _discard,
    Action.RESTORE: _restore,
    Action.MARK_SENT: _mark_sent,
    Action.MARK_NOT_SENT: _mark_not_sent,
}


def came_back(letter_ids: Collection[UUID]) -> int:
    """How many of these letters failed again after their replay.

    Seen by a scan as a new letter, or already by the failure of the job that was requeued for it.
    """
    failed_again = Q(
        attempts__action=Action.REPLAY,
        attempts__job_epoch__lte=F("job__run_epoch"),
        job__status__in=[Status.FAILED, Status.QUARANTINED],
    )
    letters = DeadLetter.objects.filter(pk__in=letter_ids)
    again = letters.filter(failed_again | Q(returns_as__isnull=False))
    return again.values("pk").distinct().count()
