"""The outbox: messages to send, written in the transaction of the change that they announce (I2).

``jobs.messaging.dispatcher`` sends them.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

from django.db.models.functions import Now

from jobs.models import Outbox
from opsconsole_worker.messages import REASON_LENGTH

ENQUEUED = ""
STALE_JOB_RECOVERY = "stale_job_recovery"
RETRY_AFTER_FAILURE = "retry_after_failure"
OPERATOR_REQUEUE = "operator_requeue"
LOST_MESSAGE = "lost_message"
GIVEN_BACK = "given_back"
RESTORED = "restored"


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


def post_dead_letter(job_id: UUID, run_epoch: int, queue: str, *, reason: str) -> None:
    """Write a copy of a dead run's message to its dead letter queue, the one sign of dead work outside the console."""
    Outbox.objects.get_or_create(
        job_id=job_id,
        run_epoch=run_epoch,
        destination=Outbox.Destination.DLQ,
        defaults={"queue": queue, "reason": reason[:REASON_LENGTH], "retry": True, "dead_letter_id": uuid4()},
    )
