"""Lost messages: the message of a pending job is re-sent when it counts as lost (I2). An extra copy is harmless (I1).

Messages that are not known to be missing are never sent again: ``jobs.recovery.loss_proofs`` has what proves a loss.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from jobs.messaging.outbox import LOST_MESSAGE
from jobs.models import Job, JobEvent, RecoveryControl, WorkerHeartbeat
from jobs.models.columns import JOBS
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.models.worker import workers_are_seen
from jobs.recovery import loss_proofs, resends
from jobs.recovery.loss_proofs import Proof
from jobs.runs import timeline
from jobs.runs.timeline import SWEEP
from opsconsole.kit.row_locks import if_free_in_statement
from opsconsole.kit.storable import json_text

logger = logging.getLogger(__name__)

# Re-arm only what is still as it was seen: pending at that epoch, and with the same number of re-sends.
_ARM_AGAIN = """
WITH wanted AS (
    SELECT * FROM unnest(%(ids)s::{id_type}[], %(epochs)s::int[], %(resends)s::int[], %(sentences)s::text[],
                         %(details)s::jsonb[]) AS wanted (id, epoch, resends, sentence, details)
), pending AS MATERIALIZED (
    SELECT job.id, job.queue, wanted.epoch, wanted.resends
      FROM {jobs} AS job JOIN wanted ON wanted.id = job.id
     WHERE {status} = 'pending' AND job.run_epoch = wanted.epoch
       {job_if_free}
), armed AS (
    INSERT INTO outbox AS letter (job_id, run_epoch, queue, destination, dead_letter_id, reason, retry, resends)
    SELECT id, epoch, queue, 'queue', NULL, %(reason)s, true, resends + 1 FROM pending
    ON CONFLICT (job_id, run_epoch, destination) DO UPDATE
       SET state = 'waiting', available_at = statement_timestamp(), attempts = 0, last_error = '',
           resends = excluded.resends
     WHERE letter.state IN ('sent', 'dropped') AND letter.resends = excluded.resends - 1
    RETURNING job_id
)
INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
SELECT id, epoch, %(kind)s, %(actor)s, sentence, details FROM wanted JOIN armed ON armed.job_id = wanted.id
RETURNING job_id
"""


@dataclass(frozen=True)
class Lost:
    """A pending job whose message is lost. ``resends`` is how often it was re-sent before."""

    job_id: UUID
    epoch: int
    queue: str
    waited: timedelta
    resends: int
    sentence: str


def resend_lost(limit: int = 1_000) -> int:
    """Request that the messages of at most ``limit`` jobs are re-sent; return of how many.

    Do nothing while recovery only observes, or when the setting OPSCONSOLE_LOST_RESEND forbids it.
    """
    control = RecoveryControl.load()
    if not control.armed or not resending():
        return 0
    return _arm_again(find(limit, cutoff=control.cutoff))


def resending(*, old_kind: bool | None = None) -> bool:
    """Tell whether re-sending is allowed; 'auto' means: unless workers without epochs sent heartbeats within the last day.

    ``old_kind`` tells whether they did, if the caller has read it.

    For them a second message may cause a second run, because nothing fences the first. Workers without heartbeats are not seen,
    so that they may be there.
    """
    if settings.OPSCONSOLE_LOST_RESEND != "auto":
        return bool(settings.OPSCONSOLE_LOST_RESEND == "on")
    if not workers_are_seen():
        return False
    return not (WorkerHeartbeat.objects.old_kind_in_use().exists() if old_kind is None else old_kind)


def find(limit: int, *, cutoff: datetime | None = None) -> list[Lost]:
    """Return the jobs whose message counts as lost, those waiting longest first; none from before ``cutoff``."""
    jobs = resends.begun_since(Job.objects.to_be_resent(), cutoff)
    if not jobs.exists():
        return []
    by_queue = loss_proofs.proofs()
    if unknown := _unknown_queues(jobs):
        logger.warning("%s", _of_unknown(unknown))
    lost_jobs = loss_proofs.proven(jobs, by_queue).order_by("waiting_since", "pk")[:limit]
    return [_lost(job, by_queue[job.queue]) for job in lost_jobs]


def note() -> str:
    """Return for a sweep's row to which queues nothing is re-sent because what they hold is unknown; '' for none."""
    if not resending():
        return ""
    unknown = _unknown_queues(Job.objects.to_be_resent())
    return _of_unknown(unknown) if unknown else ""


def _unknown_queues(jobs: JobQuerySet[JobWithMessage]) -> list[str]:
    """Return the configured queues of these jobs without a fresh and complete reading."""
    complete = loss_proofs.complete_readings(loss_proofs.readable_states())
    unread = settings.QUEUES.keys() - {reading.queue for reading in complete}
    # Of no queue at all, Django asks nothing.
    return list(jobs.filter(queue__in=unread).order_by("queue").values_list("queue", flat=True).distinct())


def _of_unknown(queues: Sequence[str]) -> str:
    return f"No message is re-sent to {', '.join(queues)}: what the queue holds is unknown."


def _lost(job: JobWithMessage, proof: Proof) -> Lost:
    waited = job.read_at - job.waiting_since
    return Lost(
        job.pk, job.run_epoch, job.queue, waited, job.resends, loss_proofs.sentence_about(waited, proof)
    )


def _arm_again(lost: Sequence[Lost]) -> int:
    if not lost:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            _ARM_AGAIN.format(
                id_type=JOBS.id_type,
                jobs=JOBS.rows,
                status=JOBS.our_status("job"),
                job_if_free=if_free_in_statement(of="job"),
            ),
            {
                "ids": [job.job_id for job in lost],
                "epochs": [job.epoch for job in lost],
                "resends": [job.resends for job in lost],
                "sentences": [job.sentence for job in lost],
                "details": [json_text(_details(job)) for job in lost],
                "reason": LOST_MESSAGE,
                "kind": JobEvent.Kind.RESENT.value,
                "actor": SWEEP.name,
            },
        )
        armed = {str(job_id) for (job_id,) in cursor.fetchall()}
    timeline.log_each(
        JobEvent.Kind.RESENT,
        [
            {"job": job.job_id, "run": job.epoch, "queue": job.queue, "resend": job.resends + 1}
            for job in lost
            if str(job.job_id) in armed
        ],
    )
    return len(armed)


def _details(job: Lost) -> dict[str, Any]:
    waited = round(job.waited.total_seconds(), 1)
    return {"why": LOST_MESSAGE, "resend": job.resends + 1, "waited_seconds": waited, "queue": job.queue}
