"""The jobs that may have been completed after the backup, as far as the database, SQS and workers can tell.

A restore forgets what happened after the backup. What is left of that time: runs that were going on at the backup, messages
that have left the queue since, dead letters and heartbeats of later runs, and results that workers report too late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from jobs.models import Restore
from jobs.models.columns import HEARTBEATS, JOBS
from opsconsole.kit import actors

# Of several pieces of evidence about one job, the newest of each kind.
_EVIDENCE = """
SELECT job.id, job.queue, {status}, fenced.was, fenced.from_epoch, fenced.worker,
       (SELECT late.actor FROM job_events AS late
         WHERE late.job_id = job.id AND late.kind = 'late_result_rejected' AND late.at >= %(began_at)s
           AND late.details ->> 'tried' = 'completed' ORDER BY late.id DESC LIMIT 1) AS late_result,
       (SELECT max(letter.run_epoch) FROM dead_letters AS letter
         WHERE letter.job_id = job.id AND letter.run_epoch >= fenced.from_epoch AND letter.run_epoch < %(fence)s
           AND (letter.run_epoch > fenced.from_epoch OR fenced.was IN ('pending', 'in_progress'))) AS letter_epoch,
       (SELECT max(beat.worker_id) FROM {beats} AS beat
         WHERE beat.current_job_id = job.id AND beat.current_run_epoch < %(fence)s
           AND (beat.current_run_epoch > fenced.from_epoch
                OR beat.current_run_epoch = fenced.from_epoch AND fenced.was = 'pending')) AS beating_worker,
       EXISTS (SELECT FROM outbox AS letter
                WHERE letter.job_id = job.id AND letter.run_epoch = fenced.from_epoch
                  AND letter.destination = 'queue' AND letter.state = 'sent') AS message_was_sent
  FROM (SELECT job_id, details ->> 'was' AS was, (details ->> 'from_epoch')::int AS from_epoch,
               details ->> 'worker' AS worker
          FROM job_events
         WHERE kind = 'fenced' AND at >= %(began_at)s AND (details ->> 'restore')::bigint = %(restore)s) AS fenced
  JOIN {jobs} AS job ON job.id = fenced.job_id
 WHERE {status} <> 'completed'
 ORDER BY job.id
"""


class Evidence(StrEnum):
    """Why a job may have been completed, the strongest first."""

    LATE_RESULT = "late_result"
    DEAD_LETTER = "dead_letter"
    HEARTBEAT = "heartbeat"
    RUNNING = "running"
    MESSAGE_TAKEN = "message_taken"


class FencedJob(NamedTuple):
    """A fenced job and what is known of it."""

    id: UUID
    queue: str
    status: str
    was: str
    from_epoch: int
    worker: str | None
    late_result: str | None
    letter_epoch: int | None
    beating_worker: str | None
    message_was_sent: bool


@dataclass(frozen=True)
class Suspect:
    """A job that may have been completed after the backup."""

    job_id: UUID
    status: str
    evidence: Evidence
    sentence: str


@dataclass(frozen=True)
class QueueSuspicion:
    """What SQS tells of a queue as a whole: at least ``taken`` of ``waiting`` messages have left it since the backup."""

    queue: str
    waiting: int
    depth: int | None

    @property
    def taken(self) -> int:
        return 0 if self.depth is None else max(0, self.waiting - self.depth)

    @property
    def sentence(self) -> str:
        waiting = f"Queue '{self.queue}': the backup has {self.waiting:,} waiting jobs whose message was sent"
        if self.depth is None:
            return f"{waiting}. SQS did not answer, so it is unknown how many were taken since."
        return f"{waiting}, and the queue held {self.depth:,} messages: at least {self.taken:,} were taken since."


@dataclass(frozen=True)
class Suspicion:
    jobs: list[Suspect]
    queues: list[QueueSuspicion]


def of(restore: Restore) -> Suspicion:
    """Return what may have been completed between the backup and this restore."""
    parameters: dict[str, Any] = {"began_at": restore.began_at, "fence": restore.fence, "restore": restore.pk}
    with connection.cursor() as cursor:
        statement = _EVIDENCE.format(beats=HEARTBEATS.rows, jobs=JOBS.rows, status=JOBS.our_status("job"))
        cursor.execute(statement, parameters)
        fenced = [FencedJob(*row) for row in cursor.fetchall()]
    depths: Mapping[str, int | None] = restore.depths
    return judge(fenced, depths)


def judge(fenced: list[FencedJob], depths: Mapping[str, int | None]) -> Suspicion:
    """Judge the evidence. Pure."""
    waiting: dict[str, int] = {}
    for job in fenced:
        if job.was == "pending" and job.message_was_sent:
            waiting[job.queue] = waiting.get(job.queue, 0) + 1
    queues = [QueueSuspicion(queue, count, depths.get(queue)) for queue, count in sorted(waiting.items())]
    emptied = {each.queue for each in queues if each.depth == 0}
    suspects = [suspect for job in fenced for suspect in _strongest(job, emptied)]
    order = list(Evidence)
    return Suspicion(sorted(suspects, key=lambda suspect: order.index(suspect.evidence)), queues)


def _strongest(job: FencedJob, emptied: set[str]) -> Iterator[Suspect]:
    """Yield the job with its strongest evidence, if there is any."""
    for evidence, sentence in _reasons(job, emptied):
        yield Suspect(job.id, job.status, evidence, sentence)
        return


def _reasons(job: FencedJob, emptied: set[str]) -> Iterator[tuple[Evidence, str]]:
    if job.late_result:
        worker = actors.worker_of(job.late_result)
        yield Evidence.LATE_RESULT, f"Worker {worker} reported after the restore that it had completed it."
    if job.letter_epoch is not None:
        yield (
            Evidence.DEAD_LETTER,
            f"A dead letter is about its run {job.letter_epoch}, which began after the backup.",
        )
    if job.beating_worker:
        yield (
            Evidence.HEARTBEAT,
            f"Worker {job.beating_worker} sent heartbeats for a run that began after the backup.",
        )
    if job.was == "in_progress":
        worker = f"on worker {job.worker}" if job.worker else "on an unknown worker"
        yield Evidence.RUNNING, f"Run {job.from_epoch} was going on {worker} at the time of the backup."
    if job.was == "pending" and job.message_was_sent and job.queue in emptied:
        yield Evidence.MESSAGE_TAKEN, "Its message had left the queue, so a worker took it after the backup."


def as_json(restore: Restore, suspicion: Suspicion) -> dict[str, Any]:
    """Return the answer of the command for programs."""
    return {
        "restore": restore.pk,
        "began_at": restore.began_at.isoformat(),
        "finished_at": restore.finished_at.isoformat() if restore.finished_at else None,
        "actor": restore.actor,
        "reason": restore.reason,
        "fence": restore.fence,
        "signs": restore.signs,
        "fenced": {
            "running": restore.fenced_running,
            "waiting": restore.fenced_waiting,
            "ended": restore.fenced_ended,
        },
        "told_completed": restore.told_completed,
        "queues": [
            {"queue": each.queue, "waiting": each.waiting, "depth": each.depth, "taken": each.taken}
            for each in suspicion.queues
        ],
        "may_have_completed": [
            {
                "job_id": str(each.job_id),
                "status": each.status,
                "evidence": each.evidence.value,
                "sentence": each.sentence,
            }
            for each in suspicion.jobs
        ],
    }
