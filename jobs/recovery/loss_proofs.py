"""Proofs that messages were lost: a queue holds fewer than jobs wait whose message was sent.

Standard queues promise no order, so that nothing about later jobs proves a loss. What proves one is a count: when a queue
holds fewer messages than jobs wait whose message was sent, the difference is lost. Which jobs it concerns is certain only
where the queue is empty; otherwise those that have waited longest count as lost, and no more than the difference.
An unreadable queue proves nothing (I8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet

from jobs.models import Job, QueueState
from jobs.models.job import JobQuerySet, JobWithMessage
from jobs.models.waiting_message import lost_after
from jobs.models.waiting_since import SINCE
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell

FRESH = timedelta(minutes=3)

# The figures of SQS may lack messages of the last minute, so that jobs whose message was sent then are not counted.
SETTLING = timedelta(minutes=1)


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
class Reading:
    """What a queue held, and the time before which a message must have been sent to be among it."""

    queue: str
    held: int
    sent_before: datetime


def proofs(states: Iterable[QueueState] | None = None) -> dict[str, Proof]:
    """Return the proof per queue that lacks messages, among these rows of ``readable_states()`` (default: all of them)."""
    readings = complete_readings(readable_states() if states is None else states)
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


def complete_readings(states: Iterable[QueueState]) -> list[Reading]:
    """Return the complete readings of these queues."""
    settling = min(SETTLING, lost_after())
    return [
        Reading(state.name, state.held, state.read_at - settling)
        for state in states
        if state.read_at and state.held is not None
    ]


def _waiting(reading: Reading) -> Q:
    """Match the jobs of the queue that have waited since its messages must have been sent to be counted."""
    return Q(queue=reading.queue, since__lt=reading.sent_before)


def _awaited(reading: Reading) -> Q:
    """Match the jobs of ``with_message()`` whose message should be among what the queue held."""
    # The second implies the first, which PostgreSQL finds by an index.
    return _waiting(reading) & Q(waiting_since__lt=reading.sent_before)


def _waiting_jobs(readings: Sequence[Reading]) -> dict[str, int]:
    """Return the number of jobs per queue whose message should be there; none of queues that held as many as jobs wait."""
    # Most of the time, the jobs alone tell that. PostgreSQL would join thousands of them with the whole outbox.
    at_most = _counts(Job.objects.waiting().alias(since=SINCE), readings, _waiting)
    short = [reading for reading in readings if at_most.get(reading.queue, 0) > reading.held]
    return _counts(Job.objects.sent_and_waiting(), short, _awaited)


def _counts(jobs: JobQuerySet, readings: Sequence[Reading], of: Callable[[Reading], Q]) -> dict[str, int]:
    """Count these jobs per queue, by one statement for all queues."""
    matching = jobs.filter(reduce(or_, map(of, readings), Q(pk__in=[]))).order_by()
    return dict(matching.values("queue").annotate(count=Count("pk")).values_list("queue", "count"))


def _of_empty(reading: Reading) -> Proof:
    return Proof(reading.sent_before, None, certain=True, sentence=f"queue '{reading.queue}' was seen empty")


def _of_missing(reading: Reading, missing: int) -> Proof:
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


def sentence_about(waited: timedelta, proof: Proof) -> str:
    """Return the sentence about a job whose last message nobody took for so long, and counts as lost."""
    return f"Its message {proof.verdict}: no worker took it for {spell(waited)}, and {proof.sentence}."
