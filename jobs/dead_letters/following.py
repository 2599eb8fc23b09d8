"""When a job is requeued, its letters go with it: the new message takes their place (I9)."""

from __future__ import annotations

from uuid import UUID

from jobs.dead_letters import ledger
from jobs.models import DeadLetter, ReplayAttempt
from jobs.timeline import Actor

FOLLOWING = (DeadLetter.State.IN_QUEUE, DeadLetter.State.KEPT)


def follow_requeue(job_id: UUID, run_epoch: int, actor: Actor, reason: str) -> int:
    """Note on each undecided letter of the job that it is replayed as this run; returns how many there were.

    Belongs in the transaction of the requeue. The letters leave their queue once the new message was sent.
    """
    letters = list(
        DeadLetter.objects.light()
        .filter(job_id=job_id, state__in=FOLLOWING)
        .order_by("pk")
        .select_for_update(of=("self",))
    )
    note(letters, run_epoch, actor, reason)
    return len(letters)


def note(letters: list[DeadLetter], run_epoch: int, actor: Actor, reason: str) -> None:
    """Write for these locked letters that their job was requeued as this run."""
    ReplayAttempt.objects.bulk_create(
        ledger.entry(
            letter,
            ReplayAttempt.Action.REPLAY,
            ReplayAttempt.State.REQUEUED,
            actor,
            reason,
            job_epoch=run_epoch,
            from_copy=letter.state != DeadLetter.State.IN_QUEUE,
        )
        for letter in letters
    )
    ids = [letter.pk for letter in letters]
    DeadLetter.objects.filter(pk__in=ids).update(state=DeadLetter.State.REPLAYING)
