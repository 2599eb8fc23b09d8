"""The replay of letters that a scan holds: send and delete them, or only delete them, and record each step (I9)."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.dead_letters import reading, send_outcomes, sending, snapshot
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.scan import without_contents
from jobs.dead_letters.sending import Begun, Parcel, SendingResult
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
# The commit does not wait for the disk: what it forgets in a crash of the server, the next scan finds again.
_KEEP_RESTORED = """
UPDATE dead_letters SET state = 'kept'
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'in_queue'
   AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
"""
# The messages of these letters must not be in the queue: when one is seen there, its deletion was lost and is repeated.
OUGHT_TO_BE_GONE = (DeadLetter.State.REPLAYED, DeadLetter.State.DISCARDED)


@dataclass(frozen=True)
class PageInHand:
    """A page of held messages with their letters and requests, some of which are being sent."""

    in_hand: Sequence[tuple[Received, DeadLetter]]
    attempts: Mapping[UUID, ReplayAttempt]
    sending: Begun | None


@dataclass(frozen=True)
class Deleting:
    """Messages that are being deleted, without their contents."""

    going: Sequence[tuple[Received, DeadLetter]]
    calls: Sequence[Future[set[str]]]


@dataclass
class PageHandler:
    """Handles the pages of messages that one scan of a queue holds.

    While a page is being sent, the next one is stored and the one before is deleted. One page at a time has intents
    without an outcome: those of a page are recorded after the outcomes of the page before. ``sending`` tells why no more
    is sent, and ``free`` the letters that were left alone, because others keep their rows locked.
    """

    dlq: DeadLetterQueue
    pool: ThreadPoolExecutor
    sending: SendingResult = field(default_factory=SendingResult)
    free: FreeLetters = field(default_factory=FreeLetters)
    page: PageInHand | None = None
    deleting: deque[Deleting] = field(default_factory=deque)

    def __call__(self, held: Sequence[Received]) -> set[str]:
        """Store these messages and begin with the requests for them; return the ids of messages that were deleted by now."""
        letters = snapshot.keep(self.dlq, held, self.free)
        # A letter that is only in its queue has no open request.
        decided = [letter for letter in letters.values() if letter.state != DeadLetter.State.IN_QUEUE]
        attempts = entries.of_letters(decided)
        in_hand = [(each, letters[each.message_id]) for each in held if each.message_id in letters]
        before = self._record_sending()
        self.page = PageInHand(in_hand, attempts, self._begin_to_send(in_hand, attempts))
        self._begin_to_delete(before)
        if sqs.is_fifo(self.dlq.url):
            # What is deleted opens the way to the next messages.
            return self.finish()
        return self._record_deleted(all_but=1)

    def finish(self) -> set[str]:
        """Bring what was begun to its end; return the ids of messages that were deleted since the last page."""
        self._begin_to_delete(self._record_sending())
        return self._record_deleted(all_but=0)

    def _begin_to_send(
        self, in_hand: Sequence[tuple[Received, DeadLetter]], attempts: Mapping[UUID, ReplayAttempt]
    ) -> Begun | None:
        parcels = [
            _parcel(received, letter, attempts[letter.pk])
            for received, letter in in_hand
            if letter.pk in attempts and _is_to_be_sent(attempts[letter.pk])
        ]
        return None if self.sending.pause else sending.begin(self.pool, parcels, self.sending)

    def _record_sending(self) -> list[tuple[Received, DeadLetter]]:
        """Record the outcomes of the page that is being sent; return what may leave the queue now."""
        if self.page is None:
            return []
        page, self.page = self.page, None
        if page.sending:
            page.sending.record()
        return [
            (without_contents(received), letter)
            for received, letter in page.in_hand
            if letter.pk in self.sending.letter_ids or _is_to_be_deleted(letter, page.attempts.get(letter.pk))
        ]

    def _begin_to_delete(self, going: Sequence[tuple[Received, DeadLetter]]) -> None:
        messages = [received for received, _ in going]
        starts = range(0, len(messages), sqs.BATCH_ENTRIES)
        batches = [messages[start : start + sqs.BATCH_ENTRIES] for start in starts]
        self.deleting.append(Deleting(going, [self.pool.submit(_delete_batch, batch) for batch in batches]))

    def _record_deleted(self, *, all_but: int) -> set[str]:
        """Record together the deletions that SQS confirmed, of all pages but the last ones."""
        deleted: set[str] = set()
        while len(self.deleting) > all_but:
            some = self.deleting.popleft()
            confirmed = {message_id for call in some.calls for message_id in call.result()}
            if confirmed:
                record_deleted(
                    [letter for received, letter in some.going if received.message_id in confirmed], self.free
                )
            deleted |= confirmed
        return deleted


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
    changed = (free or FreeLetters()).change([letter.pk for letter in letters], _end_deleted)
    deleted = [letter for letter in letters if letter.pk in changed]
    for letter in deleted:
        metrics.DEAD_LETTERS.count(queue=letter.queue, outcome="deleted")
    activity.done_to_each(
        "dead letter deleted from its queue",
        [{"letter": letter.pk, "job": letter.job_id} for letter in deleted],
    )


def _end_deleted(ids: list[UUID]) -> None:
    settlement.end_fulfilled(ids, deleted=True)
    with connection.cursor() as cursor:
        cursor.execute(_KEEP_RESTORED, {"ids": ids})


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
