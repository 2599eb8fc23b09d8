"""Snapshots: each message that a scan holds is stored whole before anything else is done with it (I9)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.postgres.search import SearchVector
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from jobs.dead_letters import groups, lineage, origins, reading, redaction
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.reading import ReadMessage
from jobs.models import DeadLetter, DeadLetterQueue, Job
from jobs.models.dead_letter import DeadLetterQuerySet
from opsconsole.kit import activity, metrics, redaction_version
from opsconsole.kit.storable import plain_text
from opsconsole_worker.sqs import Received

State = DeadLetter.State
# Seen in the queue, a letter in one of these states is there after all.
RETURNS_WHEN_SEEN = (State.GONE, State.KEPT)


@dataclass(frozen=True)
class NewLetter:
    """A received message that is not stored yet, and what it says."""

    received: Received
    read: ReadMessage


def keep(dlq: DeadLetterQueue, held: Sequence[Received], free: FreeLetters) -> dict[str, DeadLetter]:
    """Store these messages or record that they were seen again; return the letters by message id, without bodies.

    Letters that others keep locked are stored already; ``free`` tells them, and they are not among those returned.
    """
    by_id = {received.message_id: received for received in held}
    mine = DeadLetter.objects.light().filter(dlq=dlq, message_id__in=by_id)
    known = set(mine.values_list("message_id", flat=True))
    if new := [received for key, received in by_id.items() if key not in known]:
        _store(dlq, new)
    if known:
        _see_again([by_id[key] for key in known], mine.filter(message_id__in=known), free)
    return {letter.message_id: letter for letter in mine.all() if letter.pk not in free.passed_over}


@transaction.atomic
def _see_again(received: Iterable[Received], known: DeadLetterQuerySet, free: FreeLetters) -> None:
    mine = DeadLetter.objects.filter(pk__in=free.lock(known))
    receives = [When(message_id=each.message_id, then=each.receive_count) for each in received]
    mine.update(
        last_seen_at=Now(),
        views=F("views") + 1,
        missed=0,
        receive_count=Case(*receives, default=F("receive_count")),
    )
    mine.filter(state__in=RETURNS_WHEN_SEEN).update(state=State.IN_QUEUE)


def _store(dlq: DeadLetterQueue, new: Sequence[Received]) -> None:
    read = [NewLetter(each, reading.read(each.body, each.attributes, each.system_attributes)) for each in new]
    ids = {each.read.run.job_id for each in read if each.read.run}
    jobs = Job.objects.only("queue", "error_message", "run_epoch").in_bulk(ids)
    prints = [reading.fingerprint_of(each.read, _error_of(_job_of(each, jobs))) for each in read]
    kept = groups.of(prints)
    earlier = lineage.earlier_of([_trace(each) for each in read])
    letters = DeadLetter.objects.bulk_create(
        [
            _letter(
                dlq, each, _job_of(each, jobs), kept[print_.key].pk, earlier.get(each.received.message_id)
            )
            for each, print_ in zip(read, prints, strict=True)
        ],
        # Another cluster may store the same message at the same moment.
        ignore_conflicts=True,
    )
    for letter in letters:
        metrics.DEAD_LETTERS.count(queue=letter.queue, outcome="found")
        activity.done(
            "dead letter found",
            level=logging.WARNING,
            letter=letter.pk,
            job=letter.job_id,
            run=letter.run_epoch,
            queue=letter.queue,
            message=letter.message_id,
        )


def _job_of(new: NewLetter, jobs: dict[UUID, Job]) -> Job | None:
    return jobs.get(new.read.run.job_id) if new.read.run else None


def _error_of(job: Job | None) -> str:
    return (job.error_message or "") if job else ""


def _trace(new: NewLetter) -> lineage.Trace:
    run = new.read.run
    job_id, epoch = (run.job_id, run.run_epoch) if run else (None, None)
    return lineage.Trace(new.received.message_id, job_id, epoch, new.received.sent_at)


def _letter(
    dlq: DeadLetterQueue,
    new: NewLetter,
    job: Job | None,
    group_id: int,
    earlier: lineage.EarlierLetter | None,
) -> DeadLetter:
    received, read = new.received, new.read
    message, run = read.message, read.run
    source_arn = received.system_attributes.get(reading.SOURCE_ARN, "")
    addressee = plain_text(read.failed_delivery.addressee) if read.failed_delivery else ""
    body = plain_text(received.body)
    return DeadLetter(
        dlq=dlq,
        message_id=received.message_id,
        queue=origins.origin_of(dlq.queues, source_arn, job.queue if job else None, addressee),
        source_arn=source_arn,
        addressee=addressee,
        body=body,
        body_bytes=len(received.body.encode("utf-8", "surrogatepass")),
        attributes={name: reading.stored(attribute) for name, attribute in received.attributes.items()},
        system_attributes=received.system_attributes,
        sent_at=received.sent_at,
        expires_at=dlq.expiry_of(received.sent_at),
        receive_count=received.receive_count,
        group_id=group_id,
        job_id=run.job_id if run else None,
        run_epoch=run.run_epoch if run else None,
        dead_letter_id=(message.dead_letter_id or "") if message else "",
        returned_from_id=earlier.letter_id if earlier else None,
        returns=earlier.returns + 1 if earlier else 0,
        words=SearchVector(Value(plain_text(redaction.words(body))), config="simple"),
        words_of=redaction_version.current(),
    )
