"""The outbox: messages to send, written in the transaction of the change that they announce (I2).

``jobs.messaging.dispatcher`` sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from jobs.models import Outbox
from jobs.models.columns import JOBS
from opsconsole.kit import doorbell
from opsconsole.kit.postgresql.binary_values import insert_lists

ENQUEUED = ""
STALE_JOB_RECOVERY = "stale_job_recovery"
RETRY_AFTER_FAILURE = "retry_after_failure"
OPERATOR_REQUEUE = "operator_requeue"
LOST_MESSAGE = "lost_message"
GIVEN_BACK = "given_back"
RESTORED = "restored"

# So many messages at once are a burst, which is sent at once. Fewer wait for the dispatcher's next look, so that most of its
# calls are full: SQS charges by the call.
BURST = 100

# The name of a copy on a dead letter queue is none of a message to a queue.
_INSERT = f"""
INSERT INTO outbox (job_id, run_epoch, queue, reason, retry, dead_letter_id, available_at)
SELECT job_id, run_epoch, queue, reason, retry, NULL, coalesce(due_at, statement_timestamp())
  FROM unnest(%(job_ids)b::{JOBS.id_type}[], %(run_epochs)b::int[], %(queues)b::text[], %(reasons)b::text[],
              %(retries)b::bool[], %(due_ats)b::timestamptz[]) AS message (job_id, run_epoch, queue, reason, retry, due_at)
"""  # noqa: S608 - the name of a type, from the mapping


class NewMessage(NamedTuple):
    """The message of a run to its queue, not yet written. ``due_at`` None: it is due now."""

    job_id: UUID
    run_epoch: int
    queue: str
    reason: str
    retry: bool
    due_at: datetime | None = None


def post_all(messages: Sequence[NewMessage]) -> None:
    """Write the messages of many runs at once, in their order."""
    insert_lists(_INSERT, messages, _lists)
    announce(len(messages))


def announce(number: int) -> None:
    """Wake the dispatcher beside us once so many messages are committed, if they are a burst."""
    if number >= BURST:
        transaction.on_commit(doorbell.ring)


def _lists(messages: Sequence[NewMessage]) -> dict[str, Any]:
    return {
        "job_ids": [each.job_id for each in messages],
        "run_epochs": [each.run_epoch for each in messages],
        "queues": [each.queue for each in messages],
        "reasons": [each.reason for each in messages],
        "retries": [each.retry for each in messages],
        "due_ats": [each.due_at for each in messages],
    }


def post(
    job_id: UUID,
    run_epoch: int,
    queue: str,
    *,
    reason: str,
    retry: bool,
    delay: timedelta = timedelta(0),
) -> None:
    """Write the message of a run to its queue, due no earlier than ``delay`` from now."""
    Outbox.objects.create(
        job_id=job_id,
        run_epoch=run_epoch,
        queue=queue,
        reason=reason,
        retry=retry,
        available_at=Now() + delay,
    )
