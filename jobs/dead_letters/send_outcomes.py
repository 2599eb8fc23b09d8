"""The outcomes of sending letters: sent, certainly not sent, or unknown. Each is recorded in the ledger (I9)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from jobs.dead_letters.free_letters import FreeLetters
from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.kit.row_locks import in_statement

State = ReplayAttempt.State
# Longer than any call to SQS: after this time, the process that recorded the intent has died.
INTENT_LASTS = timedelta(minutes=2)
OUTCOME_LENGTH = 500

# An intent that was settled as unknown in the meantime is known now.
_SETTLE_SENT = """
WITH before AS MATERIALIZED (
    SELECT id, state FROM dead_letter_ledger
     WHERE id = ANY(%(ids)s::bigint[]) AND state IN ('sending', 'unknown')
     ORDER BY id {locked}
)
UPDATE dead_letter_ledger AS attempt
   SET state = 'sent', sent_at = statement_timestamp(), new_message_id = arrived.message_id
  FROM before JOIN unnest(%(ids)s::bigint[], %(message_ids)s::text[]) AS arrived (id, message_id) USING (id)
 WHERE attempt.id = before.id
RETURNING attempt.id, attempt.from_copy, before.state
""".replace("{locked}", in_statement())


def settle_sent(arrived: Mapping[int, str]) -> None:
    """Record that these were sent. A stored copy is then finished; the others must still be deleted."""
    if not arrived:
        return
    with connection.cursor() as cursor:
        # By itself, so that it is recorded whatever becomes of the letters.
        cursor.execute(_SETTLE_SENT, {"ids": list(arrived), "message_ids": list(arrived.values())})
        settled = cursor.fetchall()
    if were_unknown := [attempt_id for attempt_id, _, before in settled if before == State.UNKNOWN]:
        _settle_known(were_unknown)
    if copies := [attempt_id for attempt_id, from_copy, _ in settled if from_copy]:
        finish_copies(copies)


@transaction.atomic
def _settle_known(attempt_ids: Sequence[int]) -> None:
    unknown = DeadLetter.objects.filter(state=DeadLetter.State.OUTCOME_UNKNOWN)
    free = FreeLetters().lock(unknown.filter(pk__in=_letters_of(attempt_ids)))
    DeadLetter.objects.filter(pk__in=free).update(state=DeadLetter.State.REPLAYING)


def _letters_of(attempt_ids: Sequence[int]) -> list[UUID]:
    return list(ReplayAttempt.objects.filter(pk__in=attempt_ids).values_list("letter_id", flat=True))


@transaction.atomic
def finish_copies(attempt_ids: Sequence[int] | None = None) -> None:
    """Finish what was sent from a stored copy, of these attempts or of all: there is nothing left to delete.

    Letters that others keep locked are finished by a later turn.
    """
    rows = ReplayAttempt.objects.filter(state=State.SENT, from_copy=True)
    if attempt_ids is not None:
        rows = rows.filter(pk__in=attempt_ids)
    letters = list(rows.values_list("letter_id", flat=True))
    free = FreeLetters().lock(DeadLetter.objects.filter(pk__in=letters))
    DeadLetter.objects.filter(pk__in=free).update(state=DeadLetter.State.REPLAYED)
    rows.filter(letter_id__in=free).update(state=State.DONE, ended_at=Now())


def wait_again(attempt_ids: Sequence[int], why: str, letter_ids: Collection[UUID] | None = None) -> None:
    """Leave the request open, or only that of some letters: certainly not sent, and it may work later."""
    rows = ReplayAttempt.objects.filter(pk__in=attempt_ids, state=State.SENDING)
    if letter_ids is not None:
        rows = rows.filter(letter_id__in=letter_ids)
    rows.update(state=State.WANTED, outcome=why[:OUTCOME_LENGTH])


def fail(attempt_ids: Sequence[int], why: str) -> None:
    """End the request: certainly not sent, and never will be. Operators can decide about the letters again.

    Those of letters that others keep locked stay open, and the next turn comes to the same end.
    """
    with transaction.atomic():
        free = FreeLetters()
        mine = free.lock(DeadLetter.objects.filter(pk__in=_letters_of(attempt_ids)))
        wait_again(attempt_ids, why, letter_ids=free.passed_over)
        rows = ReplayAttempt.objects.filter(
            pk__in=attempt_ids,
            letter_id__in=mine,
            state__in=[State.WANTED, State.SENDING, State.REQUEUED],
        )
        letters = DeadLetter.objects.filter(state=DeadLetter.State.REPLAYING)
        letters.filter(attempts__in=rows.filter(from_copy=True)).update(state=DeadLetter.State.KEPT)
        letters.filter(attempts__in=rows.filter(from_copy=False)).update(state=DeadLetter.State.IN_QUEUE)
        rows.update(state=State.NOT_DONE, ended_at=Now(), outcome=why[:OUTCOME_LENGTH])


def settle_unknown(attempt_ids: Sequence[int], why: str) -> int:
    """Record that nobody knows whether these were sent, and return of how many. Locked letters keep their intent."""
    with transaction.atomic():
        rows = ReplayAttempt.objects.filter(pk__in=attempt_ids, state=State.SENDING)
        free = FreeLetters().lock(DeadLetter.objects.filter(pk__in=_letters_of(attempt_ids)))
        rows = rows.filter(letter_id__in=free)
        letters = DeadLetter.objects.filter(pk__in=list(rows.values_list("letter_id", flat=True)))
        letters.update(state=DeadLetter.State.OUTCOME_UNKNOWN)
        return rows.update(state=State.UNKNOWN, outcome=why[:OUTCOME_LENGTH])


def give_up_intents() -> int:
    """Settle the intents of processes that died as unknown, because nobody knows whether they were sent; return how many."""
    left = ReplayAttempt.objects.filter(state=State.SENDING, sending_at__lt=Now() - INTENT_LASTS)
    ids = list(left.values_list("pk", flat=True))
    return settle_unknown(ids, "The process that was sending it ended before it could record the outcome.")
