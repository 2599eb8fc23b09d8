"""Lost messages: the message of a pending job is re-sent when it is proven lost (I2). An extra copy is harmless (I1).

The proof is a time per queue: a message that was sent before it and has not been claimed is lost. It is the time at
which the queue was seen empty, or the time after which a hundred later jobs were claimed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q, Value

from jobs.messaging.outbox import LOST_MESSAGE
from jobs.models import Job, JobEvent, QueueState, RecoveryControl, WorkerHeartbeat
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.runs.timeline import SWEEP
from opsconsole.kit.durations import spell
from opsconsole.kit.row_locks import if_free_in_statement

FRESH = timedelta(minutes=3)
LATER_CLAIMS = 100
LOOKED_AT = 10_000

# The creation time of the hundredth newest claimed job of each queue. It reads the newest jobs of each status
# by index and stops at a hundred; where few are of this queue, it gives up after ten thousand: not proven.
_OVERTAKEN = """
SELECT queue.name, hundredth.created_at, 'overtaken'
  FROM unnest(%s::text[]) AS queue (name)
 CROSS JOIN LATERAL (
       SELECT claimed.created_at
         FROM unnest(ARRAY['in_progress', 'completed', 'failed', 'quarantined']) AS known (status)
        CROSS JOIN LATERAL (
              SELECT newest.created_at
                FROM (SELECT created_at, jobs.queue FROM jobs WHERE jobs.status::text = known.status
                       ORDER BY created_at DESC, id DESC LIMIT %s) AS newest
               WHERE newest.queue = queue.name
               ORDER BY newest.created_at DESC LIMIT %s) AS claimed
        ORDER BY claimed.created_at DESC OFFSET %s - 1 LIMIT 1) AS hundredth
"""

# Re-arm only what is still as it was seen: pending at that epoch, and with the same number of re-sends.
_ARM_AGAIN = """
WITH wanted AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(epochs)s::int[], %(resends)s::int[], %(sentences)s::text[],
                         %(details)s::jsonb[]) AS wanted (id, epoch, resends, sentence, details)
), pending AS MATERIALIZED (
    SELECT job.id, job.queue, wanted.epoch, wanted.resends
      FROM jobs AS job JOIN wanted ON wanted.id = job.id
     WHERE job.status::text = 'pending' AND job.run_epoch = wanted.epoch
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
"""


@dataclass(frozen=True)
class Proof:
    """The time before which unclaimed messages are lost; the sentence says why."""

    before: datetime
    sentence: str


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


def resending() -> bool:
    """Tell whether re-sending is allowed; 'auto' means: unless workers without epochs sent heartbeats within the last day.

    For them a second message may cause a second run, because nothing fences the first.
    """
    if settings.OPSCONSOLE_LOST_RESEND != "auto":
        return bool(settings.OPSCONSOLE_LOST_RESEND == "on")
    return not WorkerHeartbeat.objects.old_kind_in_use().exists()


def find(limit: int, *, cutoff: datetime | None = None) -> list[Lost]:
    """Return the jobs whose message is proven lost, those waiting longest first; none from before ``cutoff``."""
    jobs = Job.objects.to_be_resent()
    if cutoff:
        jobs = jobs.filter(updated_at__gte=cutoff)
    if not jobs.exists():
        return []
    by_queue = proofs()
    lost_jobs = proven(jobs, by_queue).order_by("updated_at", "pk")[:limit]
    return [_lost(job, by_queue[job.queue]) for job in lost_jobs]


def proofs(queues: Iterable[str] | None = None) -> dict[str, Proof]:
    """Return the latest, and so strongest, proof per queue (default: the configured queues).

    One statement, whatever the number of queues. A queue that is not configured proves nothing.
    """
    names = list(settings.QUEUES if queues is None else settings.QUEUES.keys() & set(queues))
    if not names:
        return {}
    seen_empty = QueueState.objects.filter(name__in=names).known_empty(FRESH)
    read = seen_empty.order_by().values_list("name", "read_at", Value("seen empty"))
    statement, parameters = read.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"{statement} UNION ALL {_OVERTAKEN}",
            [*parameters, names, LOOKED_AT, LATER_CLAIMS, LATER_CLAIMS],
        )
        rows = sorted(cursor.fetchall(), key=itemgetter(1))
    return {name: Proof(before, _PROVEN[kind].format(queue=name)) for name, before, kind in rows}


_PROVEN = {
    "seen empty": "queue '{queue}' was seen empty",
    "overtaken": f"{LATER_CLAIMS} jobs enqueued later were claimed",
}


def proven(jobs: JobQuerySet[JobWithMessage], by_queue: dict[str, Proof]) -> JobQuerySet[JobWithMessage]:
    """Return the jobs of ``with_message()`` whose message is lost according to a proof."""
    return jobs.filter(_proven(by_queue))


def unproven(jobs: JobQuerySet[JobWithMessage], by_queue: dict[str, Proof]) -> JobQuerySet[JobWithMessage]:
    """Return the other jobs."""
    return jobs.exclude(_proven(by_queue))


def _proven(by_queue: dict[str, Proof]) -> Q:
    any_of_them = Q(pk__in=[])
    for queue, proof in by_queue.items():
        any_of_them |= Q(queue=queue, updated_at__lt=proof.before, waiting_since__lt=proof.before)
    return any_of_them


def is_proven(job: JobWithMessage, proof: Proof) -> bool:
    """Tell the same about one loaded job, by the proof for its queue."""
    return job.updated_at < proof.before and job.waiting_since < proof.before


def _lost(job: JobWithMessage, proof: Proof) -> Lost:
    waited = job.read_at - job.waiting_since
    sentence = f"Its message is lost: it waited for {spell(waited)}, and {proof.sentence}."
    return Lost(job.pk, job.run_epoch, job.queue, waited, job.resends, sentence)


def _arm_again(lost: Sequence[Lost]) -> int:
    if not lost:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            _ARM_AGAIN.format(job_if_free=if_free_in_statement(of="job")),
            {
                "ids": [job.job_id for job in lost],
                "epochs": [job.epoch for job in lost],
                "resends": [job.resends for job in lost],
                "sentences": [job.sentence for job in lost],
                "details": [json.dumps(_details(job)) for job in lost],
                "reason": LOST_MESSAGE,
                "kind": JobEvent.Kind.RESENT.value,
                "actor": SWEEP.name,
            },
        )
        armed: int = cursor.rowcount
        return armed


def _details(job: Lost) -> dict[str, Any]:
    waited = round(job.waited.total_seconds(), 1)
    return {"why": LOST_MESSAGE, "resend": job.resends + 1, "waited_seconds": waited, "queue": job.queue}
