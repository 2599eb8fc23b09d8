"""Settlement: when a job is requeued, its new message takes the place of its dead letters (I9)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import connection

from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import NewEntry
from jobs.models import DeadLetter, ReplayAttempt
from jobs.runs.timeline import Actor
from opsconsole.kit.row_locks import locked

State = ReplayAttempt.State

# Only requests to replay are ever sent.
_END_FULFILLED = """
WITH ended AS (
    UPDATE dead_letter_ledger
       SET state = 'done', ended_at = statement_timestamp(),
           deleted_at = CASE WHEN %(deleted)s THEN statement_timestamp() ELSE deleted_at END,
           outcome = CASE WHEN %(outcome)s = '' THEN outcome ELSE %(outcome)s END
     WHERE letter_id = ANY(%(ids)s::uuid[])
       AND state IN ('sent', 'wanted') AND (state = 'sent' OR action = 'discard')
    RETURNING letter_id, action
)
UPDATE dead_letters AS letter
   SET state = 'replayed'
  FROM ended
 WHERE letter.id = ended.letter_id AND ended.action <> 'discard'
"""

FOLLOWING = (DeadLetter.State.IN_QUEUE, DeadLetter.State.KEPT)


def follow_requeues(
    run_epochs: Mapping[UUID, int], actor: Actor, reason: str, *, wait: timedelta | None = None
) -> int:
    """Record on each undecided letter of these jobs that it is replayed as a run of its job; return how many.

    Call it in the transaction of the requeue. The letters leave their queue once the new message has been sent.
    ``wait`` is the limit of waiting for letters that others have locked.
    """
    letters_of_jobs = DeadLetter.objects.light().replaced_by_requeue().filter(job_id__in=list(run_epochs))
    undecided = letters_of_jobs.filter(state__in=FOLLOWING).order_by("pk")
    letters = list(locked(undecided, wait=wait, of=("self",)))
    note([(letter, run_epochs[letter.job_id]) for letter in letters if letter.job_id], actor, reason)
    return len(letters)


def end_fulfilled(letter_ids: Collection[UUID], *, deleted: bool = False, outcome: str = "") -> None:
    """End the requests that these letters' leaving their queue fulfils: those sent, and the wishes to discard.

    Call it in a transaction that has locked the letters. ``deleted``: the console deleted the messages; ``outcome`` is
    kept with the requests.
    """
    with connection.cursor() as cursor:
        cursor.execute(_END_FULFILLED, {"ids": list(letter_ids), "deleted": deleted, "outcome": outcome})


def note(followed: Sequence[tuple[DeadLetter, int]], actor: Actor, reason: str) -> None:
    """Record for these locked letters that their job was requeued as this run."""
    if not followed:
        return
    entries.write(
        [
            NewEntry(
                letter.pk,
                ReplayAttempt.Action.REPLAY,
                ReplayAttempt.State.REQUEUED,
                actor,
                reason,
                from_copy=letter.state != DeadLetter.State.IN_QUEUE,
                job_epoch=run_epoch,
            )
            for letter, run_epoch in followed
        ]
    )
    ids = [letter.pk for letter, _ in followed]
    DeadLetter.objects.filter(pk__in=ids).update(state=DeadLetter.State.REPLAYING)
