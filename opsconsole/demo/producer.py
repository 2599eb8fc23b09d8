"""The demo's producer: one job every two seconds, a few of which will fail."""

from __future__ import annotations

import time

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job
from opsconsole.demo.output import say, short

SECONDS_BETWEEN = 2.0
# A demo whose workers have all stopped must not fill the queue.
MOST_WAITING = 100
WITHOUT_ADDRESS = "fails for good"
POISON, POISON_NUMBER = "kills its worker", 3


class Producer:
    def __init__(self) -> None:
        self.enqueued = 0
        self._next_at = time.monotonic()

    def turn(self) -> None:
        """Enqueue the next job when it is due and not too many are waiting."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + SECONDS_BETWEEN
        if Job.objects.waiting()[:MOST_WAITING].count() >= MOST_WAITING:
            return
        self.enqueued += 1
        job = enqueue(job_number(self.enqueued))
        if job.payload.get("trouble") == POISON:
            say("producer", f"job {short(job.pk)} is poison: it {POISON}")


def job_number(number: int) -> NewJob:
    payload = {"trouble": trouble} if (trouble := trouble_of(number)) else {}
    if trouble == WITHOUT_ADDRESS:
        # What an operator can mend there.
        payload["address"] = ""
    priority = ("starter", "growth", "enterprise")[number % 3]
    return NewJob(
        customer_id=f"customer-{1000 + number % 40}",
        package_size=2 + number % 3,
        priority=priority,
        payload=payload,
    )


def trouble_of(number: int) -> str | None:
    """Return what goes wrong with a job: mostly nothing. The poison job comes early, so that its quarantine can be seen."""
    if number == POISON_NUMBER:
        return POISON
    if number % 20 == 6:
        return "fails until it is replayed"
    if number % 10 == 4:
        return "fails once"
    if number % 20 == 9:
        return WITHOUT_ADDRESS
    if number % 30 == 15:
        return "fails always"
    return None
