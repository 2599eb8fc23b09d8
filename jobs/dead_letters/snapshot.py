"""Snapshots: each message that a scan holds is stored whole before anything else is done with it (I9)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.search import SearchVector
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from jobs.dead_letters import envelopes, groups, lineage, origins, redaction, undelivered
from jobs.dead_letters.envelopes import NamedRun
from jobs.dead_letters.fingerprint import Fingerprint, fingerprint
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.undelivered import Undelivered
from jobs.messaging.format import JobMessage, MalformedMessage, parse_body
from jobs.models import DeadLetter, DeadLetterQueue, Job
from jobs.models.dead_letter import DeadLetterQuerySet
from jobs.sqs import BATCH_BYTES, Attribute, Received
from jobs.worker.poison import POISON_ATTRIBUTE
from opsconsole.kit.storable import plain_text

State = DeadLetter.State
# The system attribute with which SQS names the queue from which it moved a message.
SOURCE_ARN = "DeadLetterQueueSourceArn"
# Seen in the queue, a letter in one of these states is there after all.
RETURNS_WHEN_SEEN = (State.GONE, State.KEPT)


@dataclass(frozen=True)
class ReadMessage:
    """A received message and its parsed content.

    ``message`` None: it is not the message of a job. ``run``: the job that it names, also inside an envelope.
    ``failed_delivery``: what a service says that could not deliver it. ``document`` is redacted.
    """

    received: Received
    message: JobMessage | None
    run: NamedRun | None
    failed_delivery: Undelivered | None
    document: Any


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
    read = [_read(received) for received in new]
    ids = {each.run.job_id for each in read if each.run}
    jobs = Job.objects.only("queue", "error_message", "run_epoch").in_bulk(ids)
    prints = [_fingerprint(each, _job_of(each, jobs)) for each in read]
    kept = groups.of(prints)
    earlier = lineage.earlier_of([_trace(each) for each in read])
    DeadLetter.objects.bulk_create(
        [
            _letter(
                dlq, each, _job_of(each, jobs), kept[print_.key].pk, earlier.get(each.received.message_id)
            )
            for each, print_ in zip(read, prints, strict=True)
        ],
        # Another cluster may store the same message at the same moment.
        ignore_conflicts=True,
    )


def _read(received: Received) -> ReadMessage:
    try:
        message = parse_body(received.body, BATCH_BYTES)
    except MalformedMessage:
        message = None
    body, is_json = redaction.read(received.body)
    document = body if is_json else None
    if message:
        run: NamedRun | None = NamedRun(message.job_id, message.run_epoch)
    else:
        run = envelopes.run_in(document, settings.OPSCONSOLE_JOB_ID_PATHS)
    failed_delivery = _failed_delivery(received, document)
    # Last, because it changes the document.
    shown = redaction.redact(document) if is_json else None
    return ReadMessage(received, message, run, failed_delivery, shown)


def _failed_delivery(received: Received, document: Any) -> Undelivered | None:
    """Return what a service says that could not deliver it; nothing of messages that were in a queue before."""
    if SOURCE_ARN in received.system_attributes or POISON_ATTRIBUTE in received.attributes:
        return None
    texts = {name: value.value for name, value in received.attributes.items() if isinstance(value.value, str)}
    return undelivered.read(texts, document)


def _job_of(read: ReadMessage, jobs: dict[UUID, Job]) -> Job | None:
    return jobs.get(read.run.job_id) if read.run else None


def _trace(read: ReadMessage) -> lineage.Trace:
    job_id, epoch = (read.run.job_id, read.run.run_epoch) if read.run else (None, None)
    return lineage.Trace(read.received.message_id, job_id, epoch, read.received.sent_at)


def _fingerprint(read: ReadMessage, job: Job | None) -> Fingerprint:
    poison = read.received.attributes.get(POISON_ATTRIBUTE)
    document = read.document
    is_copy = read.message is not None and read.message.dead_letter_id is not None
    return fingerprint(
        poison=redaction.unread_reason(str(poison.value)) if poison else "",
        undelivered=_redacted(read),
        error=(job.error_message or "") if job else "",
        given=str(document.get("reason") or "") if is_copy and isinstance(document, dict) else "",
        document=document,
        is_job=read.run is not None,
    )


def _redacted(read: ReadMessage) -> Undelivered | None:
    """Return what the service says as it may be shown: redaction also hides attributes."""
    if read.failed_delivery is None or not settings.OPSCONSOLE_REDACT_PATHS:
        return read.failed_delivery
    stored = {name: _stored(attribute) for name, attribute in read.received.attributes.items()}
    return undelivered.read(redaction.redact_attributes(stored), read.document)


def _letter(
    dlq: DeadLetterQueue,
    read: ReadMessage,
    job: Job | None,
    group_id: int,
    earlier: lineage.EarlierLetter | None,
) -> DeadLetter:
    received, message, run = read.received, read.message, read.run
    source_arn = received.system_attributes.get(SOURCE_ARN, "")
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
        attributes={name: _stored(attribute) for name, attribute in received.attributes.items()},
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
        words_of=redaction.version(),
    )


def _stored(attribute: Attribute) -> dict[str, str]:
    if isinstance(attribute.value, bytes):
        return {"type": attribute.type, "base64": base64.b64encode(attribute.value).decode()}
    return {"type": attribute.type, "value": plain_text(attribute.value)}


def attributes_of(letter: DeadLetter) -> dict[str, Attribute]:
    """Return the message attributes of a stored letter."""
    return {
        name: Attribute(
            base64.b64decode(stored["base64"]) if "base64" in stored else stored["value"], stored["type"]
        )
        for name, stored in letter.attributes.items()
    }
