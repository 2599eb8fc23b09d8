"""The replay of letters that a scan holds: send and delete them, or only delete them, and record each step (I9)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.dead_letters import reading, send_outcomes, sending, snapshot
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.sending import Parcel, QueueAndGroup
from jobs.dead_letters.side_by_side import side_by_side
from jobs.letter_ledger import entries, settlement
from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetter, DeadLetterQueue, Outbox, ReplayAttempt
from opsconsole.kit import activity, metrics
from opsconsole_worker import sqs
from opsconsole_worker.sqs import Received

logger = logging.getLogger("jobs.dead_letters")

# The job and the run that a message is for.
JobAndEpoch: TypeAlias = tuple[UUID | None, int | None]

PAGE = 500
# The copies that are read and sent together. Each body may have 1 MiB.
COPIES = 2 * sqs.BATCH_ENTRIES
# The messages of these letters must not be in the queue: when one is seen there, its deletion was lost and is repeated.
OUGHT_TO_BE_GONE = (DeadLetter.State.REPLAYED, DeadLetter.State.DISCARDED)


@dataclass
class PageHandler:
    """Handles the pages of messages that one scan of a queue holds.

    ``pause``: why it sends no more; ``stopped``: the FIFO groups of which it sends no more. ``free`` tells the letters
    that were left alone, because others keep their rows locked.
    """

    dlq: DeadLetterQueue
    sent: int = 0
    pause: str = ""
    stopped: set[QueueAndGroup] = field(default_factory=set)
    free: FreeLetters = field(default_factory=FreeLetters)

    def __call__(self, held: Sequence[Received]) -> set[str]:
        """Store these messages, carry out the requests for them, and return the ids of those that were deleted."""
        letters = snapshot.keep(self.dlq, held, self.free)
        attempts = entries.of_letters(letters.values())
        in_hand = [(each, letters[each.message_id]) for each in held if each.message_id in letters]
        sent = self._send(in_hand, attempts)
        return _delete(
            [
                (received, letter)
                for received, letter in in_hand
                if letter.pk in sent or _is_to_be_deleted(letter, attempts.get(letter.pk))
            ],
            self.free,
        )

    def _send(
        self, in_hand: Sequence[tuple[Received, DeadLetter]], attempts: dict[UUID, ReplayAttempt]
    ) -> set[UUID]:
        if self.pause:
            return set()
        result = sending.send(
            [
                _parcel(received, letter, attempts[letter.pk])
                for received, letter in in_hand
                if letter.pk in attempts and _is_to_be_sent(attempts[letter.pk])
            ],
            self.stopped,
        )
        self.sent += len(result.letter_ids)
        self.pause, self.stopped = result.pause, result.stopped
        return result.letter_ids


def _is_to_be_sent(attempt: ReplayAttempt) -> bool:
    return attempt.action == LetterAction.REPLAY and attempt.state == State.WANTED and not attempt.from_copy


def _is_to_be_deleted(letter: DeadLetter, attempt: ReplayAttempt | None) -> bool:
    if attempt is None:
        return letter.state in OUGHT_TO_BE_GONE
    return attempt.state == State.SENT or (
        attempt.action == LetterAction.DISCARD and attempt.state == State.WANTED
    )


def _parcel(received: Received, letter: DeadLetter, attempt: ReplayAttempt) -> Parcel:
    return Parcel(
        attempt=attempt,
        letter=letter,
        body=received.body,
        attributes=received.attributes,
        system_attributes=received.system_attributes,
    )


def _delete(going: Sequence[tuple[Received, DeadLetter]], free: FreeLetters) -> set[str]:
    """Delete these messages in batches, and record together those that SQS confirms."""
    messages = [received for received, _ in going]
    starts = range(0, len(messages), sqs.BATCH_ENTRIES)
    confirmed = side_by_side(_delete_batch, [messages[start : start + sqs.BATCH_ENTRIES] for start in starts])
    deleted = {message_id for some in confirmed for message_id in some}
    if deleted:
        record_deleted([letter for received, letter in going if received.message_id in deleted], free)
    return deleted


def _delete_batch(batch: Sequence[Received]) -> set[str]:
    try:
        return sqs.delete_batch(batch)
    except sqs.QueueError as error:
        # Their rows say that they were sent, so the next scan deletes them.
        logger.warning("Dead letters could not be deleted; the next scan tries again: %s", error)
        return set()


def record_deleted(letters: Sequence[DeadLetter], free: FreeLetters | None = None) -> None:
    """Record that these letters left their queue. One restored in the meantime is kept as the copy in the console.

    Those that others keep locked are found to be gone by a later scan.
    """
    left = DeadLetter.objects.filter(pk__in=[letter.pk for letter in letters])
    with transaction.atomic():
        ids = (free or FreeLetters()).lock(left)
        settlement.end_fulfilled(ids, deleted_at=Now())
        in_queue = DeadLetter.objects.filter(pk__in=ids, state=DeadLetter.State.IN_QUEUE)
        in_queue.update(state=DeadLetter.State.KEPT)
        mine = set(ids)
        for letter in letters:
            if letter.pk in mine:
                metrics.DEAD_LETTERS.count(queue=letter.queue, outcome="deleted")
                activity.done("dead letter deleted from its queue", letter=letter.pk, job=letter.job_id)


def settle_requeued() -> int:
    """Settle the requests whose job was requeued, once its new message has an outcome; return how many were sent.

    When the message was dropped or refused, the letter stays where it is.
    """
    sent, after = 0, 0
    while rows := _requeued(after):
        after = rows[-1].pk
        messages = _messages_of(rows)
        sent += _settle(rows, messages)
    return sent


def _requeued(after: int) -> list[ReplayAttempt]:
    rows = ReplayAttempt.objects.filter(state=State.REQUEUED, pk__gt=after).order_by("pk")
    return list(rows.select_related("letter").only("job_epoch", "letter__job_id")[:PAGE])


def _messages_of(rows: Sequence[ReplayAttempt]) -> dict[JobAndEpoch, Outbox]:
    messages = Outbox.objects.filter(
        destination=Outbox.Destination.QUEUE, job_id__in={row.letter.job_id for row in rows}
    ).exclude(state=Outbox.State.WAITING)
    return {(message.job_id, message.run_epoch): message for message in messages}


def _settle(rows: Sequence[ReplayAttempt], messages: dict[JobAndEpoch, Outbox]) -> int:
    sent = []
    for row in rows:
        message = messages.get((row.letter.job_id, row.job_epoch))
        if message is None:
            continue
        if message.state != Outbox.State.SENT:
            send_outcomes.fail([row.pk], f"Its job's new message was {message.get_state_display()}.")
        elif ReplayAttempt.objects.filter(pk=row.pk, state=State.REQUEUED).update(
            state=State.SENT, sent_at=message.sent_at or Now(), new_message_id=message.message_id
        ):
            sent.append(row.pk)
    send_outcomes.finish_copies(sent)
    return len(sent)


def send_copies(stop_at: float) -> int:
    """Send requested letters that have left their queue, from the stored copies; return how many were sent."""
    sent, after = 0, 0
    while monotonic() < stop_at:
        rows = list(_copies().filter(pk__gt=after)[:COPIES])
        if not rows:
            break
        after = rows[-1].pk
        result = sending.send([_parcel_of_copy(row) for row in rows])
        sent += len(result.letter_ids)
        if result.pause:
            break
    return sent


def _copies() -> QuerySet[ReplayAttempt]:
    wanted = ReplayAttempt.objects.filter(state=State.WANTED, action=LetterAction.REPLAY, from_copy=True)
    return wanted.select_related("letter").defer("letter__words").order_by("pk")


def _parcel_of_copy(row: ReplayAttempt) -> Parcel:
    return Parcel(
        attempt=row,
        letter=row.letter,
        body=row.letter.body,
        attributes=reading.attributes_of(row.letter),
        system_attributes=row.letter.system_attributes,
    )
