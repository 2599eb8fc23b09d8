"""The sending of letters to their origin, with the intent recorded before and the outcome after (I9).

A process that dies in between leaves the intent, which becomes "outcome unknown" and is never sent again from here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import connection

from jobs.dead_letters import fifo_order, send_outcomes, undelivered
from jobs.dead_letters.side_by_side import THREADS
from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.kit import activity, metrics
from opsconsole.kit.row_locks import if_free_in_statement
from opsconsole_worker import sqs
from opsconsole_worker.sqs import Attribute, SendResult
from opsconsole_worker.working.poison import OURS

LONGEST_DEDUP_ID = 128

# When the last call of those that follow one intent may begin, so that it ends within INTENT_LASTS.
SENT_WITHIN = timedelta(minutes=1)

QueueAndGroup: TypeAlias = tuple[str, str | None]

_INTEND = """
WITH free AS MATERIALIZED (
    SELECT id FROM dead_letter_ledger WHERE id = ANY(%(ids)s::bigint[]) AND state = 'wanted'
     ORDER BY id {if_free}
)
UPDATE dead_letter_ledger AS attempt
   SET state = 'sending', sending_at = statement_timestamp(), outcome = ''
  FROM free WHERE attempt.id = free.id
RETURNING attempt.id
""".replace("{if_free}", if_free_in_statement())


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

    @property
    def queue_and_group(self) -> QueueAndGroup:
        return self.letter.queue, self.group

    def outgoing(self) -> sqs.Outgoing:
        """Return the message to send. It keeps group and deduplication id, but an edited body is a new message."""
        attributes = undelivered.without_service_attributes(self.attributes, self.letter.addressee)
        attributes = {name: value for name, value in attributes.items() if name not in OURS}
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


def send(parcels: Sequence[Parcel]) -> SendingResult:
    """Send these parcels, and record what became of each."""
    result = SendingResult()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="dead-letters") as pool:
        begin(pool, parcels, result).record()
    return result


def begin(pool: ThreadPoolExecutor, parcels: Sequence[Parcel], result: SendingResult) -> Begun:
    """Begin to send these parcels, with the intent recorded; ``record`` of what is returned waits for the outcomes.

    Where order counts they are sent and recorded at once: each FIFO group in order, and never past a parcel of the
    group that failed, also before, or whose outcome is unknown. The others are sent last, whatever their queues, after
    one statement has recorded the intents of all: once their sending has begun, nothing fails before their outcomes are
    recorded. ``result`` is that of the whole scan.
    """
    by_queue: dict[str, list[Parcel]] = defaultdict(list)
    for parcel in parcels:
        by_queue[parcel.letter.queue].append(parcel)
    in_any_order: list[Parcel] = []
    for queue, some in by_queue.items():
        url = _url_of(queue)
        if url is None:
            send_outcomes.fail(
                [parcel.attempt.pk for parcel in some], f"The queue '{queue}' is not configured (any more)."
            )
        elif sqs.is_fifo(url):
            for each in _rounds(fifo_order.free_to_go(queue, some)):
                _begin_batches(pool, each, result).record()
        else:
            in_any_order += some
    return _begin_batches(pool, in_any_order, result)


def _url_of(queue: str) -> str | None:
    return settings.QUEUES[queue].url if queue in settings.QUEUES else None


def _rounds(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Yield one parcel of each group at a time."""
    waiting: dict[str | None, list[Parcel]] = defaultdict(list)
    for parcel in parcels:
        waiting[parcel.group].append(parcel)
    while waiting:
        yield [queue.pop(0) for queue in waiting.values()]
        waiting = {group: queue for group, queue in waiting.items() if queue}


@dataclass(frozen=True)
class Begun:
    """Parcels whose sending was begun. ``mine``: those with an intent of this process, by their key."""

    parcels: Sequence[Parcel]
    mine: Mapping[str, Parcel]
    calls: Sequence[Future[list[SendResult]]]
    result: SendingResult

    def record(self) -> set[UUID]:
        """Wait for the calls, record what became of each parcel, and return the letters that were sent."""
        arrived = _record(self.mine, [each for call in self.calls for each in call.result()])
        self.result.letter_ids |= arrived
        self.result.stopped |= {
            parcel.queue_and_group for parcel in self.parcels if parcel.letter.pk not in arrived
        }
        return arrived


def _begin_batches(pool: ThreadPoolExecutor, parcels: Sequence[Parcel], result: SendingResult) -> Begun:
    """Record the intent to send these, and begin to send them side by side."""
    goes_on = [
        parcel for parcel in parcels if parcel.group is None or parcel.queue_and_group not in result.stopped
    ]
    mine = [] if result.pause else _intend(goes_on)
    by_url: dict[str, list[sqs.Outgoing]] = defaultdict(list)
    for parcel in mine:
        by_url[settings.QUEUES[parcel.letter.queue].url].append(parcel.outgoing())
    until = monotonic() + SENT_WITHIN.total_seconds()
    calls = [
        pool.submit(_Sender(url, result, until), batch)
        for url, messages in by_url.items()
        for batch in sqs.split_batches(messages)
    ]
    return Begun(parcels, {str(parcel.attempt.pk): parcel for parcel in mine}, calls, result)


def _intend(parcels: Sequence[Parcel]) -> list[Parcel]:
    """Record the intent to send; return the parcels that no other process is sending or keeps locked."""
    if not parcels:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_INTEND, {"ids": [parcel.attempt.pk for parcel in parcels]})
        ours = {row[0] for row in cursor.fetchall()}
    return [parcel for parcel in parcels if parcel.attempt.pk in ours]


@dataclass(frozen=True)
class _Sender:
    """Sends batches to one queue, in threads that use SQS only. ``until``: later than this, no call begins."""

    url: str
    sent: SendingResult
    until: float

    def __call__(self, batch: Sequence[sqs.Outgoing]) -> list[SendResult]:
        """Send the batch. An error of the whole call is the result of each message; some stop the batches after it."""
        if self.sent.pause:
            return _all_of(batch, self.sent.pause)
        if monotonic() > self.until:
            return _all_of(batch, "SQS was too slow: it was not tried.")
        try:
            return sqs.send_batch(self.url, batch, once=True)
        except (sqs.QueueThrottled, sqs.QueueUnreachable) as error:
            self.sent.pause = str(error)
            return _all_of(batch, str(error))
        except sqs.QueueUnavailable as error:
            self.sent.pause = str(error)
            return _all_of(batch, str(error), unknown=True)
        except sqs.QueueError as error:
            return _all_of(batch, str(error), permanent=True)


def _all_of(
    batch: Sequence[sqs.Outgoing], why: str, *, permanent: bool = False, unknown: bool = False
) -> list[SendResult]:
    return [SendResult(message.key, error=why, permanent=permanent, unknown=unknown) for message in batch]


def _record(parcels: Mapping[str, Parcel], results: Iterable[SendResult]) -> set[UUID]:
    """Record what SQS reported for each parcel, by its key; return the letters that were sent."""
    arrived: dict[int, str] = {}
    others: dict[tuple[Callable[..., object], str], list[int]] = defaultdict(list)
    for result in results:
        parcel = parcels[result.key]
        if result.message_id and result.message_id != parcel.letter.message_id:
            arrived[parcel.attempt.pk] = result.message_id
        else:
            others[_outcome_of(result)].append(parcel.attempt.pk)
    send_outcomes.settle_sent(arrived)
    for (settle, why), attempt_ids in others.items():
        settle(attempt_ids, why)
    sent = [parcel for parcel in parcels.values() if parcel.attempt.pk in arrived]
    for parcel in sent:
        metrics.DEAD_LETTERS.count(queue=parcel.letter.queue, outcome="replayed")
    activity.done_to_each(
        "dead letter replayed",
        [
            {
                "letter": parcel.letter.pk,
                "job": parcel.letter.job_id,
                "queue": parcel.letter.queue,
                "message": arrived[parcel.attempt.pk],
                "actor": parcel.attempt.actor,
            }
            for parcel in sent
        ],
    )
    return {parcel.letter.pk for parcel in sent}


def _outcome_of(result: SendResult) -> tuple[Callable[..., object], str]:
    """Return what settles the request for a message that was not sent, or of which that is unknown, and why."""
    if result.message_id:
        return send_outcomes.fail, "SQS dropped it as a duplicate: nothing was sent. Try again in 5 minutes."
    if result.unknown:
        return send_outcomes.settle_unknown, result.error or ""
    return (send_outcomes.fail if result.permanent else send_outcomes.wait_again), result.error or ""
