"""The demo's runs that wait for a person: each minute a worker dies in the middle of one, for as long as the demo runs."""

from __future__ import annotations

import time

from django.urls import reverse

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs.timeline import CONSOLE
from opsconsole.demo.environment import QUEUE_BY_HAND
from opsconsole.demo.handlers import LOSES_ITS_WORKER
from opsconsole.demo.output import say, short
from opsconsole.kit.counting import exactly

SECONDS_BETWEEN = 60.0
LISTINGS = 4
# A demo that nobody looks at must not collect them.
MOST_STALE = 3


class RunsByHand:
    """Enqueues a job that loses its worker while few of them wait, and requeues what nobody did when the demo ends."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.enqueued = 0
        self._next_at = time.monotonic()
        self._reported_stale: set[Job] = set()

    def turn(self, *, enqueues: bool = True) -> None:
        """Enqueue the next job when it is due, unless it is too late for one, and name each run that has become stale."""
        if enqueues and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + SECONDS_BETWEEN
            self._enqueue()
        for job in _stale():
            if job not in self._reported_stale:
                self._reported_stale.add(job)
                self._tell(job)

    def _enqueue(self) -> None:
        unfinished = Job.objects.filter(queue=QUEUE_BY_HAND, status__in=[Status.PENDING, Status.IN_PROGRESS])
        if unfinished.count() < MOST_STALE:
            self.enqueued += 1
            enqueue(
                NewJob(
                    customer_id=f"customer-{2000 + self.enqueued}",
                    package_size=LISTINGS,
                    priority="enterprise",
                    payload={"trouble": LOSES_ITS_WORKER},
                    queue=QUEUE_BY_HAND,
                )
            )

    def _tell(self, job: Job) -> None:
        page = self.address + reverse("admin:jobs_job_change", args=[job.pk])
        say("by hand", f"job {short(job.pk)} lost its worker and waits for you: requeue it at {page}")

    def end(self) -> None:
        """Requeue what is stale, as an operator would, because the demo is about to end."""
        steps = job_operations.plan(JobAction.REQUEUE, [job.pk for job in _stale()])
        if steps:
            job_operations.carry_out(steps, CONSOLE, "The demo ends, and nobody had requeued it.")
            say("by hand", f"{exactly(len(steps), 'stale run')} requeued, because the demo ends")


def _stale() -> list[Job]:
    return list(Job.objects.stale().filter(queue=QUEUE_BY_HAND))
