"""Lost messages: the message of a pending job is re-sent when it counts as lost (I2). An extra copy is harmless (I1).

Standard queues promise no order, so that nothing about later jobs proves a loss. What proves one is a count: when a queue
holds fewer messages than jobs wait whose message was sent, the difference is lost. Which jobs it concerns is certain only
where the queue is empty; otherwise those that have waited longest count as lost, and no more than the difference.
Messages that are not known to be missing are never sent again: an unreadable queue proves nothing (I8).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q, QuerySet

from jobs.messaging.outbox import LOST_MESSAGE
from jobs.models import Job, JobEvent, QueueState, RecoveryControl, WorkerHeartbeat
from jobs.models.columns import JOBS
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.models.waiting_message import lost_after
from jobs.models.waiting_since import SINCE
from jobs.models.worker import workers_are_seen
from jobs.recovery import resends
from jobs.runs import timeline
from jobs.runs.timeline import SWEEP
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.row_locks import if_free_in_statement

logger = logging.getLogger(__name__)

FRESH = timedelta(minutes=3)
# The figures of SQS may lack messages of the last minute, so that jobs whose message was sent then are not counted.
SETTLING = timedelta(minutes=1)

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
class Proof:
    """The jobs of a queue whose message counts as lost: those that have waited at least since ``before``.

    ``last``: of those that have waited exactly since then, the last one that counts. ``certain``: the queue was empty, so
    that each of them is lost. ``sentence`` says why.
    """

    before: datetime
    last: UUID | None
    certain: bool
    sentence: str

    @property
    def verdict(self) -> str:
        return "is lost" if self.certain else "is probably lost"


@dataclass(frozen=True)
class _Reading:
    """What a queue held, and the time before which a message must have been sent to be among it."""

    queue: str
    held: int
    sent_before: datetime


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
    by_queue = proofs()
    if unknown := _unknown_queues(jobs):
        logger.warning("%s", _of_unknown(unknown))
    lost_jobs = proven(jobs, by_queue).order_by("waiting_since", "pk")[:limit]
    return [_lost(job, by_queue[job.queue]) for job in lost_jobs]


def note() -> str:
    """Return for a sweep's row to which queues nothing is re-sent because what they hold is unknown; '' for none."""
    if not resending():
        return ""
    unknown = _unknown_queues(Job.objects.to_be_resent())
    return _of_unknown(unknown) if unknown else ""


def _unknown_queues(jobs: JobQuerySet[JobWithMessage]) -> list[str]:
    """Return the configured queues of these jobs without a fresh and complete reading."""
    unread = settings.QUEUES.keys() - {reading.queue for reading in _readings(readable_states())}
    # Of no queue at all, Django asks nothing.
    return list(jobs.filter(queue__in=unread).order_by("queue").values_list("queue", flat=True).distinct())


def _of_unknown(queues: Sequence[str]) -> str:
    return f"No message is re-sent to {', '.join(queues)}: what the queue holds is unknown."


def proofs(states: Iterable[QueueState] | None = None) -> dict[str, Proof]:
    """Return the proof per queue that lacks messages, among these rows of ``readable_states()`` (default: all of them)."""
    readings = _readings(readable_states() if states is None else states)
    by_queue = {reading.queue: _of_empty(reading) for reading in readings if not reading.held}
    filled = [reading for reading in readings if reading.held]
    waiting_jobs = _waiting_jobs(filled) if filled else {}
    for reading in filled:
        if (missing := waiting_jobs.get(reading.queue, 0) - reading.held) > 0:
            by_queue[reading.queue] = _of_missing(reading, missing)
    return by_queue


def readable_states(queues: Iterable[str] | None = None) -> QuerySet[QueueState]:
    """Return the configured queues (of these, if given) whose figures are known and fresh: others prove nothing."""
    names = settings.QUEUES.keys() if queues is None else settings.QUEUES.keys() & set(queues)
    return QueueState.objects.fresh(FRESH).filter(name__in=list(names))


def _readings(states: Iterable[QueueState]) -> list[_Reading]:
    """Return the complete readings of these queues."""
    settling = min(SETTLING, lost_after())
    return [
        _Reading(state.name, state.held, state.read_at - settling)
        for state in states
        if state.read_at and state.held is not None
    ]


def _waiting(reading: _Reading) -> Q:
    """Match the jobs of the queue that have waited since its messages must have been sent to be counted."""
    return Q(queue=reading.queue, since__lt=reading.sent_before)


def _awaited(reading: _Reading) -> Q:
    """Match the jobs of ``with_message()`` whose message should be among what the queue held."""
    # The second implies the first, which PostgreSQL finds by an index.
    return _waiting(reading) & Q(waiting_since__lt=reading.sent_before)


def _waiting_jobs(readings: Sequence[_Reading]) -> dict[str, int]:
    """Return the number of jobs per queue whose message should be there; none of queues that held as many as jobs wait."""
    # Most of the time, the jobs alone tell that. PostgreSQL would join thousands of them with the whole outbox.
    at_most = _counts(Job.objects.waiting().alias(since=SINCE), readings, _waiting)
    short = [reading for reading in readings if at_most.get(reading.queue, 0) > reading.held]
    return _counts(Job.objects.sent_and_waiting(), short, _awaited)


def _counts(jobs: JobQuerySet, readings: Sequence[_Reading], of: Callable[[_Reading], Q]) -> dict[str, int]:
    """Count these jobs per queue, by one statement for all queues."""
    matching = jobs.filter(reduce(or_, map(of, readings), Q(pk__in=[]))).order_by()
    return dict(matching.values("queue").annotate(count=Count("pk")).values_list("queue", "count"))


def _of_empty(reading: _Reading) -> Proof:
    return Proof(reading.sent_before, None, certain=True, sentence=f"queue '{reading.queue}' was seen empty")


def _of_missing(reading: _Reading, missing: int) -> Proof:
    """Return the proof for a queue that held ``missing`` messages fewer than it should."""
    jobs = Job.objects.sent_and_waiting().filter(_awaited(reading)).order_by("waiting_since", "pk")
    last = jobs[missing - 1 : missing].values_list("waiting_since", "pk").first()
    # Claims between the two statements may leave fewer jobs.
    before, job_id = last or (reading.sent_before, None)
    holds = f"queue '{reading.queue}' held {exactly(missing, 'message')} fewer"
    return Proof(before, job_id, certain=False, sentence=f"{holds} than jobs wait whose message was sent")


def proven(jobs: JobQuerySet[JobWithMessage], by_queue: dict[str, Proof]) -> JobQuerySet[JobWithMessage]:
    """Return the jobs of ``with_message()`` whose message is lost according to a proof."""
    return jobs.filter(_proven(by_queue))


def unproven(jobs: JobQuerySet[JobWithMessage], by_queue: dict[str, Proof]) -> JobQuerySet[JobWithMessage]:
    """Return the other jobs."""
    return jobs.exclude(_proven(by_queue))


def _proven(by_queue: dict[str, Proof]) -> Q:
    any_of_them = Q(pk__in=[])
    for queue, proof in by_queue.items():
        waited = Q(waiting_since__lt=proof.before)
        if proof.last is not None:
            waited |= Q(waiting_since=proof.before, pk__lte=proof.last)
        any_of_them |= Q(waited, queue=queue, since__lte=proof.before)
    return any_of_them


def is_proven(job: JobWithMessage, proof: Proof) -> bool:
    """Tell the same about one loaded job, by the proof for its queue."""
    if job.waiting_since == proof.before:
        return proof.last is not None and job.pk <= proof.last
    return job.waiting_since < proof.before


def told(waited: timedelta, proof: Proof) -> str:
    """Return the sentence about a job whose last message nobody took for so long, and counts as lost."""
    return f"Its message {proof.verdict}: no worker took it for {spell(waited)}, and {proof.sentence}."


def _lost(job: JobWithMessage, proof: Proof) -> Lost:
    waited = job.read_at - job.waiting_since
    return Lost(job.pk, job.run_epoch, job.queue, waited, job.resends, told(waited, proof))


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
                "details": [json.dumps(_details(job)) for job in lost],
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
