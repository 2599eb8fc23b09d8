"""Operations on dead letters: planned from what was seen, and requested for letters that have not changed (I4, I9).

Nothing here talks to SQS. A request is a row of the ledger; ``jobs.dead_letters.fulfilment`` carries it out in the
cluster. Steps and outcomes are those of ``jobs.operations.job_operations``, with the letter's id for ``job_id``; a step's
``seen_epoch`` and ``seen_reason`` are the run and status of the job that the letter names (0 and '' for none).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.dead_letters import fifo_order, letter_locks, requeue
from jobs.dead_letters.requeue import LetterResult, LetterResults, NamedJob
from jobs.dead_letters.verdicts import judge
from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import LetterAction, NewEntry
from jobs.models import DeadLetter, ReplayAttempt
from jobs.operations.steps import OperationRefused, Outcome, Record, Step, tell_refusals, unusable
from jobs.runs.timeline import Actor
from opsconsole.kit import activity, actors, reasons
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole.kit.row_locks import WaitBudget, locked

KEPT = "in each letter's ledger"

State = DeadLetter.State
# A letter and the job it names, as ``requeue.jobs_of`` loads it; None when it names no known job.
Pair: TypeAlias = "tuple[DeadLetter, NamedJob | None]"


def plan(action: LetterAction, letter_ids: Iterable[UUID]) -> list[Step]:
    """Return what the action would do to each of these letters, in the order given. Unknown ids are left out."""
    ids = list(letter_ids)
    letters_by_id = DeadLetter.objects.light().select_related("dlq").in_bulk(ids)
    jobs = requeue.jobs_of(letters_by_id.values())
    letters = [letters_by_id[letter_id] for letter_id in ids if letter_id in letters_by_id]
    steps = [step_for(action, letter, jobs.get(letter.job_id)) for letter in letters]
    return fifo_order.with_waits(steps, (letter for letter in letters if letter.job_id not in jobs))


def step_for(action: str, letter: DeadLetter, job: NamedJob | None) -> Step:
    """Return the decision for one letter and the job it names, as ``requeue.jobs_of`` loads it. Pure."""
    will, sentence = judge(LetterAction(action), letter, job)
    epoch, status = (job.run_epoch, str(job.status)) if job else (0, "")
    return Step(letter.pk, action, letter.state, epoch, status, will, sentence)


@dataclass(frozen=True)
class _Decision:
    """Who does it, why, and how long all of it may wait for others.

    ``record``: writes the same elsewhere. ``errors``: by which the database could not be used any more. Then no further letter
    is tried.
    """

    actor: Actor
    reason: str
    budget: WaitBudget
    record: Record | None = None
    errors: list[DatabaseError] = field(default_factory=list)


def carry_out(
    steps: Sequence[Step],
    actor: Actor,
    reason: str,
    *,
    budget: WaitBudget | None = None,
    record: Record | None = None,
) -> list[Outcome]:
    """Write what was planned for each letter that has not changed; return the outcomes in the order of the steps.

    Everything is one transaction. When the database refuses it, each half is tried separately, so that a letter
    that can't be written fails alone. Letters that others have locked, or whose job they have, are left alone when the
    budget is used up (by default ``row_locks.WAIT`` for all of them). ``record`` shares the transaction: a change without its
    record does not exist. Raise ``OperationRefused`` without a reason, and the database's error where it is away or read-only
    and nothing was done.
    """
    reason = reasons.required(reason, OperationRefused, KEPT)
    wanted = [step for step in steps if step.will]
    outcomes = {step.job_id: Outcome(step.job_id, done=False, sentence=step.sentence) for step in steps}
    decision = _Decision(actor, reason, budget or WaitBudget(), record)
    outcomes |= {outcome.job_id: outcome for outcome in _halving(wanted, decision)}
    in_order = [outcomes[step.job_id] for step in steps]
    tell_refusals("letter", steps, in_order, actor.name, decision.errors)
    for step in steps:
        if outcomes[step.job_id].done:
            activity.done(f"dead letter: {step.action} wanted", letter=step.job_id, actor=actor.name)
    return in_order


def _halving(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    if decision.errors:
        return [Outcome.of_refusal(step, decision.errors[0]) for step in steps]
    try:
        with transaction.atomic():
            outcomes = _together(steps, decision)
            written = {each.job_id: each.sentence for each in outcomes if each.done}
            if written and decision.record:
                decision.record(written)
            return outcomes
    except DatabaseError as error:
        decision.budget.note(error)
        # An unknown outcome is not tried again: what was saved would look as if somebody else had changed it.
        if len(steps) > 1 and not isinstance(error, OutcomeUnknown):
            middle = len(steps) // 2
            return _halving(steps[:middle], decision) + _halving(steps[middle:], decision)
        if unusable(error):
            decision.errors.append(error)
        return [Outcome.of_refusal(step, error) for step in steps]


def _together(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    """Carry out the steps in waves with one letter per job, because requeueing the job changes its other letters."""
    outcomes: list[Outcome] = []
    waiting = list(steps)
    while waiting:
        wave, waiting = letter_locks.wave(waiting)
        outcomes += _carry_out(wave, decision)
    return outcomes


def _carry_out(steps: Sequence[Step], decision: _Decision) -> list[Outcome]:
    letters_by_id = letter_locks.lock(steps, decision.budget)
    busy = letter_locks.existing([step for step in steps if step.job_id not in letters_by_id])
    same = [
        step
        for step in steps
        if (letter := letters_by_id.get(step.job_id)) and letter.state == step.seen_status
    ]
    jobs = requeue.jobs_of(letters_by_id[step.job_id] for step in same)
    results = {
        step.job_id: LetterResult(done=False, sentence=_changed(letters_by_id.get(step.job_id)))
        for step in steps
    }
    chosen: dict[LetterAction, list[Pair]] = {}
    for step in same:
        letter = letters_by_id[step.job_id]
        job = jobs.get(letter.job_id)
        if why := _second_thought(step, letter, job):
            results[step.job_id] = LetterResult(done=False, sentence=why)
        else:
            chosen.setdefault(LetterAction(step.action), []).append((letter, job))
    for action, pairs in chosen.items():
        results |= _WRITES[action](pairs, decision)
    return [
        Outcome.locked_by_others(step) if step.job_id in busy else Outcome(step.job_id, *results[step.job_id])
        for step in steps
    ]


def _second_thought(step: Step, letter: DeadLetter, job: NamedJob | None) -> str:
    """Return why a letter with an unchanged state is skipped, or '' when it is not."""
    again = step_for(step.action, letter, job)
    if not again.will:
        return again.sentence
    if not again.saw_the_same_as(step):
        return f"Its job has changed in the meantime, so nothing was done. {again.sentence}"
    return ""


def _changed(letter: DeadLetter | None) -> str:
    if letter is None:
        return "It no longer exists in the database."
    return f"It has changed in the meantime: it is {letter.get_state_display()} now. Nothing was done."


def _become(letters: Iterable[DeadLetter], state: DeadLetter.State) -> None:
    DeadLetter.objects.filter(pk__in=[letter.pk for letter in letters]).update(state=state)


def _replay(pairs: Sequence[Pair], decision: _Decision) -> LetterResults:
    foreign = [letter for letter, job in pairs if job is None]
    want_sending(foreign, decision.actor, decision.reason)
    results = {letter.pk: LetterResult(done=True, sentence=will_be_sent(letter.queue)) for letter in foreign}
    of_jobs = [(letter, job) for letter, job in pairs if job is not None]
    return results | requeue.requeue(of_jobs, decision.actor, decision.reason, decision.budget)


def will_be_sent(queue: str) -> str:
    """Say what becomes of a letter once it was requested that the cluster sends it."""
    return f"Waits to be sent to the queue {queue}."


def want_sending(
    letters: Sequence[DeadLetter], actor: Actor, reason: str, edited_body: str | None = None
) -> None:
    """Request that locked letters are sent to their origin in this order, optionally with another body."""
    entries.write(
        [
            NewEntry(
                letter.pk,
                LetterAction.REPLAY,
                ReplayAttempt.State.WANTED,
                actor,
                reason,
                from_copy=letter.state != State.IN_QUEUE or not letter.dlq.is_configured,
                edited_body=edited_body,
            )
            for letter in letters
        ]
    )
    _become(letters, State.REPLAYING)


def _discard(pairs: Sequence[Pair], decision: _Decision) -> LetterResults:
    letters = [letter for letter, _ in pairs]
    entries.write([_discarding(letter, decision) for letter in letters])
    _become(letters, State.DISCARDED)
    return {
        letter.pk: LetterResult(
            done=True,
            sentence="Waits to be deleted from its queue."
            if letter.state == State.IN_QUEUE
            else "Discarded.",
        )
        for letter in letters
    }


def _discarding(letter: DeadLetter, decision: _Decision) -> NewEntry:
    in_queue = letter.state == State.IN_QUEUE
    state = ReplayAttempt.State.WANTED if in_queue else ReplayAttempt.State.DONE
    return NewEntry(
        letter.pk, LetterAction.DISCARD, state, decision.actor, decision.reason, from_copy=not in_queue
    )


def _restore(pairs: Sequence[Pair], decision: _Decision) -> LetterResults:
    """Cancel discards that were not carried out yet; keep the other letters as copies in the console."""
    letters = [letter for letter, _ in pairs]
    waiting = _rows_of(letters).filter(action=LetterAction.DISCARD, state=ReplayAttempt.State.WANTED)
    called_off = set(
        locked(waiting.order_by("pk"), wait=decision.budget.left).values_list("letter_id", flat=True)
    )
    waiting.filter(letter_id__in=called_off).update(
        state=ReplayAttempt.State.NOT_DONE, ended_at=Now(), outcome="Restored before it was deleted."
    )
    _note(letters, LetterAction.RESTORE, decision)
    _become([letter for letter in letters if letter.pk in called_off], State.IN_QUEUE)
    _become([letter for letter in letters if letter.pk not in called_off], State.KEPT)
    back = "Restored before it was deleted from its queue."
    return {
        letter.pk: LetterResult(
            done=True, sentence=back if letter.pk in called_off else "Kept in the console."
        )
        for letter in letters
    }


def _mark_sent(pairs: Sequence[Pair], decision: _Decision) -> LetterResults:
    letters = [letter for letter, _ in pairs]
    unknown = _rows_of(letters).filter(state=ReplayAttempt.State.UNKNOWN)
    kept = set(unknown.filter(from_copy=True).values_list("letter_id", flat=True))
    outcome = f"{actors.in_words(decision.actor.name)} marked it as sent."
    unknown.filter(from_copy=True).update(state=ReplayAttempt.State.DONE, ended_at=Now(), outcome=outcome)
    unknown.update(state=ReplayAttempt.State.SENT, outcome=outcome)
    _note(letters, LetterAction.MARK_SENT, decision)
    _become([letter for letter in letters if letter.pk in kept], State.REPLAYED)
    _become([letter for letter in letters if letter.pk not in kept], State.REPLAYING)
    return {letter.pk: LetterResult(done=True, sentence="Counts as replayed.") for letter in letters}


def _mark_not_sent(pairs: Sequence[Pair], decision: _Decision) -> LetterResults:
    letters = [letter for letter, _ in pairs]
    unknown = _rows_of(letters).filter(state=ReplayAttempt.State.UNKNOWN)
    kept = set(unknown.filter(from_copy=True).values_list("letter_id", flat=True))
    outcome = f"{actors.in_words(decision.actor.name)} marked it as not sent."
    unknown.update(state=ReplayAttempt.State.NOT_DONE, ended_at=Now(), outcome=outcome)
    _note(letters, LetterAction.MARK_NOT_SENT, decision)
    _become([letter for letter in letters if letter.pk in kept], State.KEPT)
    _become([letter for letter in letters if letter.pk not in kept], State.IN_QUEUE)
    return {letter.pk: LetterResult(done=True, sentence="Can be replayed again.") for letter in letters}


def _rows_of(letters: Sequence[DeadLetter]) -> QuerySet[ReplayAttempt]:
    return ReplayAttempt.objects.filter(letter_id__in=[letter.pk for letter in letters])


def _note(letters: Sequence[DeadLetter], action: LetterAction, decision: _Decision) -> None:
    done = ReplayAttempt.State.DONE
    entries.write([NewEntry(letter.pk, action, done, decision.actor, decision.reason) for letter in letters])


_WRITES: dict[LetterAction, Callable[[Sequence[Pair], _Decision], LetterResults]] = {
    LetterAction.REPLAY: _replay,
    LetterAction.DISCARD: _discard,
    LetterAction.RESTORE: _restore,
    LetterAction.MARK_SENT: _mark_sent,
    LetterAction.MARK_NOT_SENT: _mark_not_sent,
}
