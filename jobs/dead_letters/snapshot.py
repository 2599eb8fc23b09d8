"""Snapshots: each message that a scan holds is stored whole before anything else is done with it (I9)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from django.db import transaction

from jobs.dead_letters import groups, lineage, origins, reading, redaction
from jobs.dead_letters.free_letters import FreeLetters
from jobs.dead_letters.reading import ReadMessage
from jobs.models import DeadLetter, DeadLetterQueue, Job
from opsconsole.kit import activity, job_ids, metrics, redaction_version
from opsconsole.kit.row_locks import if_free_in_statement
from opsconsole.kit.storable import plain_text
from opsconsole_worker.sqs import Received
from opsconsole_worker.working.poison import COPY_OF_ATTRIBUTE

# The columns that are read back: ``light()`` in SQL.
_LIGHT = [
    field.attname
    for field in DeadLetter._meta.concrete_fields  # noqa: SLF001 - Django's documented interface to the columns
    if field.attname not in {"body", "attributes", "system_attributes", "words"}
]

# One statement with all rows as one JSON text: making it takes a third of what an array per column takes, and with a value per
# letter and column most of the time went into the text of the statement. What is stored already is left as it is: another cluster
# may store the same message at the same moment, and others may keep a letter locked. The commit does not wait for the disk: before
# a message is sent or deleted, the commit of a decision about its letter does, and all that was written before it.
_INSERT = """
INSERT INTO dead_letters (
       dlq_id, words_of, message_id, queue, source_arn, addressee, body, body_bytes, attributes, system_attributes,
       sent_at, expires_at, receive_count, group_id, job_id, run_epoch, dead_letter_id, returned_from_id, returns, words)
SELECT %(dlq)s, %(words_of)s, message_id, queue, source_arn, addressee, body, body_bytes, attributes,
       system_attributes, sent_at, expires_at, receive_count, group_id, job_id, run_epoch, dead_letter_id,
       returned_from_id, returns, to_tsvector('simple', words)
  FROM json_to_recordset(%(rows)s::json) AS new (
       message_id text, queue text, source_arn text, addressee text, body text, body_bytes int, attributes jsonb,
       system_attributes jsonb, sent_at timestamptz, expires_at timestamptz, receive_count int, group_id bigint,
       job_id {job_id}, run_epoch int, dead_letter_id text, returned_from_id uuid, returns int, words text)
 WHERE (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
ON CONFLICT DO NOTHING
RETURNING {light}
""".replace("{job_id}", job_ids.TYPE).replace("{light}", ", ".join(_LIGHT))

# Seen in the queue, a letter that counted as gone or kept is there after all.
_SEE_AGAIN = """
WITH free AS MATERIALIZED (
    SELECT id FROM dead_letters WHERE dlq_id = %(dlq)s AND message_id = ANY(%(message_ids)s::text[])
     ORDER BY id {if_free}
)
UPDATE dead_letters AS letter
   SET last_seen_at = statement_timestamp(), views = letter.views + 1, missed = 0, receive_count = seen.receives,
       state = CASE WHEN letter.state IN ('gone', 'kept') THEN 'in_queue' ELSE letter.state END
  FROM free, unnest(%(message_ids)s::text[], %(receives)s::int[]) AS seen (message_id, receives)
 WHERE letter.id = free.id AND letter.message_id = seen.message_id
   AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
RETURNING {light}
""".replace("{if_free}", if_free_in_statement()).replace(
    "{light}", ", ".join(f"letter.{name}" for name in _LIGHT)
)

Row: TypeAlias = dict[str, Any]


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
    letters = _see_again(dlq, list(by_id.values()), free)
    if left := [received for key, received in by_id.items() if key not in letters]:
        letters |= _store_or_wait(dlq, left, free)
    return letters


def _store_or_wait(
    dlq: DeadLetterQueue, left: Sequence[Received], free: FreeLetters
) -> dict[str, DeadLetter]:
    """Store those of these messages that are new, and wait for the letters of the others, which others have locked."""
    rows = DeadLetter.objects.filter(dlq=dlq)
    letters = _store(dlq, left)
    if others := [received for received in left if received.message_id not in letters]:
        with transaction.atomic():
            free.lock(rows.filter(message_id__in=[received.message_id for received in others]))
            letters |= _see_again(dlq, others, free)
    return letters


def _see_again(
    dlq: DeadLetterQueue, received: Sequence[Received], free: FreeLetters
) -> dict[str, DeadLetter]:
    """Record that letters that nobody else has locked were seen again; return them by message id."""
    seen: dict[str, Any] = {
        "dlq": dlq.pk,
        "message_ids": [each.message_id for each in received],
        "receives": [each.receive_count for each in received],
    }
    letters = {letter.message_id: letter for letter in DeadLetter.objects.raw(_SEE_AGAIN, seen)}
    free.passed_over.difference_update(letter.pk for letter in letters.values())
    return letters


def _store(dlq: DeadLetterQueue, new: Sequence[Received]) -> dict[str, DeadLetter]:
    """Store these messages; return the letters of those that another process has not just stored, by message id."""
    read = [NewLetter(each, reading.read(each.body, each.attributes, each.system_attributes)) for each in new]
    ids = {each.read.run.job_id for each in read if each.read.run}
    jobs = Job.objects.only("queue", "error_message", "run_epoch").in_bulk(ids)
    prints = [reading.fingerprint_of(each.read, _error_of(_job_of(each, jobs))) for each in read]
    kept = groups.of(prints)
    earlier = lineage.earlier_of([_trace(each) for each in read])
    rows = [
        _row(dlq, each, _job_of(each, jobs), kept[print_.key].pk, earlier.get(each.received.message_id))
        for each, print_ in zip(read, prints, strict=True)
    ]
    stored = _insert(dlq, rows)
    for letter in stored.values():
        metrics.DEAD_LETTERS.count(queue=letter.queue, outcome="found")
    activity.done_to_each(
        "dead letter found",
        [
            {
                "letter": letter.pk,
                "job": letter.job_id,
                "run": letter.run_epoch,
                "queue": letter.queue,
                "message": letter.message_id,
            }
            for letter in stored.values()
        ],
        level=logging.WARNING,
    )
    return stored


def _insert(dlq: DeadLetterQueue, rows: Sequence[Row]) -> dict[str, DeadLetter]:
    # Ids and times become texts, which PostgreSQL reads.
    values = {
        "rows": json.dumps(rows, default=str),
        "dlq": dlq.pk,
        "words_of": redaction_version.current(),
    }
    return {letter.message_id: letter for letter in DeadLetter.objects.raw(_INSERT, values)}


def _job_of(new: NewLetter, jobs: dict[UUID, Job]) -> Job | None:
    return jobs.get(new.read.run.job_id) if new.read.run else None


def _error_of(job: Job | None) -> str:
    return (job.error_message or "") if job else ""


def _trace(new: NewLetter) -> lineage.Trace:
    run = new.read.run
    job_id, epoch = (run.job_id, run.run_epoch) if run else (None, None)
    received = new.received
    copy_of = received.attributes.get(COPY_OF_ATTRIBUTE)
    original = copy_of.value if copy_of and isinstance(copy_of.value, str) else ""
    return lineage.Trace(received.message_id, job_id, epoch, received.sent_at, plain_text(original))


def _row(
    dlq: DeadLetterQueue,
    new: NewLetter,
    job: Job | None,
    group_id: int,
    earlier: lineage.EarlierLetter | None,
) -> Row:
    received, read = new.received, new.read
    message, run = read.message, read.run
    source_arn = received.system_attributes.get(reading.SOURCE_ARN, "")
    addressee = plain_text(read.failed_delivery.addressee) if read.failed_delivery else ""
    body = plain_text(received.body)
    attributes = {name: reading.stored(attribute) for name, attribute in received.attributes.items()}
    return {
        "message_id": received.message_id,
        "queue": origins.origin_of(dlq.queues, source_arn, job.queue if job else None, addressee),
        "source_arn": source_arn,
        "addressee": addressee,
        "body": body,
        "body_bytes": len(received.body.encode("utf-8", "surrogatepass")),
        "attributes": attributes,
        "system_attributes": received.system_attributes,
        "sent_at": received.sent_at,
        "expires_at": dlq.expiry_of(received.sent_at),
        "receive_count": received.receive_count,
        "group_id": group_id,
        "job_id": run.job_id if run else None,
        "run_epoch": run.run_epoch if run else None,
        "dead_letter_id": (message.dead_letter_id or "") if message else "",
        "returned_from_id": earlier.letter_id if earlier else None,
        "returns": earlier.returns + 1 if earlier else 0,
        "words": plain_text(redaction.words(body)),
    }
