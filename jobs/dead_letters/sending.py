"""The sending of letters to their origin, with the intent recorded before and the outcome after (I9).

A process that dies in between leaves the intent, which becomes "outcome unknown" and is never sent again from here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, TextField, Value, When
from django.db.models.functions import Now

from jobs.dead_letters import undelivered
from jobs.dead_letters.free_letters import FreeLetters
from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.kit import activity, metrics
from opsconsole.kit.row_locks import locked_if_free
from opsconsole_worker import sqs
from opsconsole_worker.sqs import Attribute, SendResult
from opsconsole_worker.working.poison import POISON_ATTRIBUTE

State = ReplayAttempt.State
# Longer than any call to SQS: after this time, the process that recorded the intent has died.
INTENT_LASTS = timedelta(minutes=2)
OUTCOME_LENGTH = 500
LONGEST_DEDUP_ID = 128

QueueAndGroup: TypeAlias = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A letter to send, with its content from the held message or from the stored copy."""

    attempt: ReplayAttempt
    letter: DeadLetter
    body: str
    attributes: dict[str, Attribute]
    system_attributes: dict[str, str]

    @property
    def group(self) -> str | None:
        return self.system_attributes.get("MessageGroupId")

    def outgoing(self) -> sqs.Outgoing:
        """Return the message to send. It keeps group and deduplication id, but an edited body is a new message."""
        attributes = undelivered.without_service_attributes(self.attributes, self.letter.addressee)
        attributes.pop(POISON_ATTRIBUTE, None)
        dedup_id = self.system_attributes.get("MessageDeduplicationId") or self.letter.message_id
        if self.attempt.edited_body is not None:
            dedup_id = f"{dedup_id[: LONGEST_DEDUP_ID - 24]}:{self.attempt.pk}"
        return sqs.Outgoing(
            key=str(self.attempt.pk),
            body=self.body if self.attempt.edited_body is None else self.attempt.edited_body,
            group_id=self.group,
            dedup_id=dedup_id,
            attributes=attributes,
            trace_header=self.system_attributes.get(sqs.TRACE_HEADER),
        )


@dataclass
class SendingResult:
    """The letters that were sent. ``pause``: why SQS accepts no more for now.

    ``stopped``: the FIFO groups, by queue, of which no more may be sent because a letter of theirs failed.
    """

    letter_ids: set[UUID] = field(default_factory=set)
    pause: str = ""
    stopped: set[QueueAndGroup] = field(default_factory=set)


def send(parcels: Sequence[Parcel], stopped: Iterable[QueueAndGroup] = ()) -> SendingResult:
    """Send these parcels, each FIFO group in order and never past a parcel of the group that failed.

    ``stopped``: the groups that were stopped before, while other parcels of the same queue were sent.
    """
    sent = SendingResult(stopped=set(stopped))
    by_queue: dict[str, list[Parcel]] = defaultdict(list)
    for parcel in parcels:
        by_queue[parcel.letter.queue].append(parcel)
    for queue, some in by_queue.items():
        _send_to(queue, some, sent)
    return sent


def _send_to(queue: str, parcels: Sequence[Parcel], sent: SendingResult) -> None:
    url = settings.QUEUES[queue].url if queue in settings.QUEUES else None
    if url is None:
        _settle_unsent(parcels, f"The queue '{queue}' is not configured (any more).")
        return
    for some in _rounds(parcels, in_order=sqs.is_fifo(url)):
        batch = [
            parcel for parcel in some if (queue, parcel.group) not in sent.stopped or parcel.group is None
        ]
        arrived = _send_batches(url, batch, sent)
        sent.stopped |= {(queue, parcel.group) for parcel in some if parcel.letter.pk not in arrived}


def _rounds(parcels: Sequence[Parcel], *, in_order: bool) -> Iterator[list[Parcel]]:
    """Yield all parcels at once or, where order counts, one of each group at a time."""
    if not in_order:
        yield list(parcels)
        return
    waiting: dict[str | None, list[Parcel]] = defaultdict(list)
    for parcel in parcels:
        waiting[parcel.group].append(parcel)
    while waiting:
        yield [queue.pop(0) for queue in waiting.values()]
        waiting = {group: queue for group, queue in waiting.items() if queue}


def _send_batches(url: str, parcels: Sequence[Parcel], sent: SendingResult) -> set[UUID]:
    arrived: set[UUID] = set()
    by_key = {str(parcel.attempt.pk): parcel for parcel in parcels}
    for entries in sqs.split_batches([parcel.outgoing() for parcel in parcels]):
        if sent.pause:
            break
        mine = _intend([by_key[entry.key] for entry in entries])
        arrived |= _send_batch(url, mine, sent)
    sent.letter_ids |= arrived
    return arrived


def _intend(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Record the intent to send; return the parcels that no other process is sending or keeps locked."""
    with transaction.atomic():
        wanted = ReplayAttempt.objects.filter(
            pk__in=[parcel.attempt.pk for parcel in parcels], state=State.WANTED
        )
        ours = set(locked_if_free(wanted.order_by("pk")).values_list("pk", flat=True))
        ReplayAttempt.objects.filter(pk__in=ours).update(state=State.SENDING, sending_at=Now(), outcome="")
    return [parcel for parcel in parcels if parcel.attempt.pk in ours]


def _send_batch(url: str, parcels: Sequence[Parcel], sent: SendingResult) -> set[UUID]:
    if not parcels:
        return set()
    try:
        results = sqs.send_batch(url, [parcel.outgoing() for parcel in parcels], once=True)
    except (sqs.QueueThrottled, sqs.QueueUnreachable) as error:
        _wait_again([parcel.attempt.pk for parcel in parcels], str(error))
        sent.pause = str(error)
        return set()
    except sqs.QueueUnavailable as error:
        _settle_unknown([parcel.attempt.pk for parcel in parcels], str(error))
        sent.pause = str(error)
        return set()
    except sqs.QueueError as error:
        _settle_unsent(parcels, str(error))
        return set()
    return _record(parcels, results)


def _record(parcels: Sequence[Parcel], results: Iterable[SendResult]) -> set[UUID]:
    """Record what SQS reported for each parcel; return the letters that were sent."""
    by_key = {str(parcel.attempt.pk): parcel for parcel in parcels}
    arrived: dict[int, str] = {}
    for result in results:
        parcel = by_key[result.key]
        if result.message_id == parcel.letter.message_id:
            _settle_unsent(
                [parcel], "SQS dropped it as a duplicate: nothing was sent. Try again in 5 minutes."
            )
        elif result.message_id:
            arrived[parcel.attempt.pk] = result.message_id
        elif result.unknown:
            _settle_unknown([parcel.attempt.pk], result.error or "")
        elif result.permanent:
            _settle_unsent([parcel], result.error or "")
        else:
            _wait_again([parcel.attempt.pk], result.error or "")
    _settle_sent(arrived)
    sent = [parcel for parcel in parcels if parcel.attempt.pk in arrived]
    for parcel in sent:
        metrics.DEAD_LETTERS.count(queue=parcel.letter.queue, outcome="replayed")
        activity.done(
            "dead letter replayed",
            letter=parcel.letter.pk,
            job=parcel.letter.job_id,
            queue=parcel.letter.queue,
            message=arrived[parcel.attempt.pk],
            actor=parcel.attempt.actor,
        )
    return {parcel.letter.pk for parcel in sent}


def _settle_sent(arrived: dict[int, str]) -> None:
    """Record that these were sent. A stored copy is then finished; the others must still be deleted."""
    if not arrived:
        return
    by_key = [When(pk=key, then=Value(message_id)) for key, message_id in arrived.items()]
    new_ids = Case(*by_key, output_field=TextField())
    # An intent that was settled as unknown in the meantime is known now.
    rows = ReplayAttempt.objects.filter(pk__in=arrived, state__in=[State.SENDING, State.UNKNOWN])
    # By itself, so that it is recorded whatever becomes of the letters.
    rows.update(state=State.SENT, sent_at=Now(), new_message_id=new_ids)
    _settle_known(list(arrived))
    finish_copies(list(arrived))


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


def _wait_again(attempt_ids: Sequence[int], why: str, letter_ids: Collection[UUID] | None = None) -> None:
    """Leave the request open, or only that of some letters: certainly not sent, and it may work later."""
    rows = ReplayAttempt.objects.filter(pk__in=attempt_ids, state=State.SENDING)
    if letter_ids is not None:
        rows = rows.filter(letter_id__in=letter_ids)
    rows.update(state=State.WANTED, outcome=why[:OUTCOME_LENGTH])


def _settle_unsent(parcels: Sequence[Parcel], why: str) -> None:
    fail([parcel.attempt.pk for parcel in parcels], why)


def fail(attempt_ids: Sequence[int], why: str) -> None:
    """End the request: certainly not sent, and never will be. Operators can decide about the letters again.

    Those of letters that others keep locked stay open, and the next turn comes to the same end.
    """
    with transaction.atomic():
        free = FreeLetters()
        mine = free.lock(DeadLetter.objects.filter(pk__in=_letters_of(attempt_ids)))
        _wait_again(attempt_ids, why, letter_ids=free.passed_over)
        rows = ReplayAttempt.objects.filter(
            pk__in=attempt_ids,
            letter_id__in=mine,
            state__in=[State.WANTED, State.SENDING, State.REQUEUED],
        )
        letters = DeadLetter.objects.filter(state=DeadLetter.State.REPLAYING)
        letters.filter(attempts__in=rows.filter(from_copy=True)).update(state=DeadLetter.State.KEPT)
        letters.filter(attempts__in=rows.filter(from_copy=False)).update(state=DeadLetter.State.IN_QUEUE)
        rows.update(state=State.NOT_DONE, ended_at=Now(), outcome=why[:OUTCOME_LENGTH])


def _settle_unknown(attempt_ids: Sequence[int], why: str) -> int:
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
    return _settle_unknown(ids, "The process that was sending it ended before it could record the outcome.")
