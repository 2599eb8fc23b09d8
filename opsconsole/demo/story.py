"""The demo's story: a worker is killed in the middle of a job, and the console recovers it.

Apart from the kill it only reads: each line is an event of the timeline or a message of the outbox.
"""

from __future__ import annotations

import os
import signal
from uuid import UUID

import psutil
from django.urls import reverse

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job, JobEvent, Outbox, WorkerHeartbeat
from opsconsole.demo.environment import MARK
from opsconsole.demo.output import say, short
from opsconsole.kit import actors

CUSTOMER = "customer-story"
DIRECTORIES = 6
SECONDS_EACH = 1.2
NOTES_BEFORE_THE_KILL = 3


class Story:
    """One job, followed until its end. ``address`` is the console's, for the link to the job's page."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told_sent: set[int] = set()
        self.begin()

    def begin(self) -> None:
        self.killed_worker: str | None = None
        self.finished_by: str | None = None
        job = enqueue(
            NewJob(customer_id=CUSTOMER, package_size=DIRECTORIES, payload={"seconds_each": SECONDS_EACH})
        )
        self.job_id: UUID = job.pk

    @property
    def url(self) -> str:
        return self.address + reverse("admin:jobs_job_change", args=[self.job_id])

    @property
    def over(self) -> bool:
        """Tell whether another worker completed the job of the killed one."""
        return self.finished_by is not None and self.finished_by != self.killed_worker

    def hear(self, event: JobEvent) -> None:
        """Print an event of the story's job, and act on it."""
        for sentence in _sentences(event):
            say("story", f"job {short(self.job_id)} {sentence}", event.at)
        if event.kind == JobEvent.Kind.COMPLETED:
            self._completed(event)
        elif event.kind == JobEvent.Kind.PROGRESS and not self.killed_worker:
            self._kill_when_it_is_time()

    def _completed(self, event: JobEvent) -> None:
        if not self.killed_worker:
            say(
                "story",
                f"job {short(self.job_id)} ended before its worker could be killed; trying another one",
            )
            self.begin()
            return
        self.finished_by = actors.worker_of(event.actor)
        say("story", f"the end: nobody had to do anything. Read it again at {self.url}")

    def _kill_when_it_is_time(self) -> None:
        job = Job.objects.get(pk=self.job_id)
        notes = JobEvent.objects.filter(job=job, run_epoch=job.run_epoch, kind=JobEvent.Kind.PROGRESS)
        worker = WorkerHeartbeat.objects.filter(worker_id=job.worker_id or "", current_job_id=job.pk).first()
        if worker is None or worker.pid is None or notes.count() < NOTES_BEFORE_THE_KILL:
            return
        if _kill(worker.pid):
            self.killed_worker = worker.worker_id
            say(
                "story",
                f"worker {worker.worker_id} killed with SIGKILL, in the middle of job {short(job.pk)}",
            )
            say("story", f"job {short(job.pk)} is still 'in progress', and nobody works on it: {self.url}")

    def look_at_the_outbox(self) -> None:
        """Report when a message for a later run was sent."""
        rows = Outbox.objects.filter(job_id=self.job_id, run_epoch__gt=1, state=Outbox.State.SENT)
        for row in rows.exclude(pk__in=self.told_sent):
            self.told_sent.add(row.pk)
            say(
                "story",
                f"job {short(self.job_id)} noted as sent to SQS, for run {row.run_epoch}",
                row.sent_at,
            )


def _kill(pid: int) -> bool:
    """Kill a worker of this demo; return False when no worker has this pid."""
    try:
        if psutil.Process(pid).environ().get(MARK) != os.environ[MARK]:
            return False
        os.kill(pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True


def _sentences(event: JobEvent) -> list[str]:
    worker = actors.worker_of(event.actor)
    details = event.details
    match event.kind:
        case JobEvent.Kind.ENQUEUED:
            return ["enqueued"]
        case JobEvent.Kind.CLAIMED:
            return [f"claimed by worker {worker} (run {event.run_epoch})"]
        case JobEvent.Kind.PROGRESS:
            return [f"{details['note'].lower()}, reference {details['reference']}"]
        case JobEvent.Kind.RECOVERED:
            why = str(details.get("why", "")).replace("_", " ")
            return [
                f"found stale: {why}. {event.reason}",
                f"requeued as run {details.get('epoch_now')}; whatever run {event.run_epoch} still says is refused",
            ]
        case JobEvent.Kind.COMPLETED:
            return [f"completed by worker {worker} (run {event.run_epoch})"]
        case _:
            reason = f": {event.reason}" if event.reason else ""
            return [f"{event.get_kind_display().lower()} (run {event.run_epoch}){reason}"]
