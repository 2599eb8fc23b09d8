"""Queues whose visibility timeout is shorter than the runs of workers that leave their message to SQS.

SQS delivers such a message again while its run goes on: the job runs twice at once, and its message becomes a dead letter
although no worker died.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists

from jobs.models import Job, QueueState
from jobs.models.columns import JOBS
from jobs.models.queue import MAX_VISIBILITY_SECONDS
from opsconsole.kit import one_statement
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.one_statement import Reading, records_of

# The newest jobs, of which those count that ended without the console's protocol.
JOBS_READ = 1_000
SHARE = 0.95
_TIMES = {"started_at", "completed_at"}


@dataclass(frozen=True)
class ShortTimeout:
    """A queue, its visibility timeout, and the runs that were measured. ``usual``: 95 of 100 runs took at most this."""

    queue: str
    timeout: timedelta
    longest: timedelta
    usual: timedelta
    runs: int

    @property
    def sentence(self) -> str:
        return (
            f"Its visibility timeout is {spell(self.timeout)}. Of the last {exactly(self.runs, 'run')} without the console's "
            f"protocol, the longest took {spell(self.longest)}, and 95 of 100 took at most {spell(self.usual)}. SQS delivers the "
            "message of a longer run again while that goes on, and makes a dead letter of it after some deliveries."
        )

    @property
    def advice(self) -> str:
        seconds = min(2 * int(self.longest.total_seconds()) + 1, MAX_VISIBILITY_SECONDS)
        url = settings.QUEUES[self.queue].url if self.queue in settings.QUEUES else "..."
        return (
            f"Set it above the longest run: aws sqs set-queue-attributes --queue-url {url} --attributes VisibilityTimeout={seconds}. "
            "Workers that extend it during a run (ChangeMessageVisibility) are not concerned."
        )


def readings() -> dict[str, Reading[Any]]:
    """Read the timeouts of queues, and the newest jobs where their times are known."""
    states = QueueState.objects.exclude(visibility_timeout_seconds=None)
    # Without a timeout, PostgreSQL reads no job.
    newest = Job.objects.filter(Exists(states)).order_by("-created_at", "-pk")[:JOBS_READ]
    if _TIMES & JOBS.absent_columns:
        newest = newest.none()
    return {
        "timeouts": records_of(states.values_list("name", "visibility_timeout_seconds")),
        "newest": records_of(newest.values_list("queue", "claimed_epoch", "started_at", "completed_at")),
    }


def short_timeouts() -> list[ShortTimeout]:
    """Return the queues whose last readings say so; none for a queue that was never read or has no such runs."""
    return of_readings(one_statement.read(**readings()))


def of_readings(read: Mapping[str, Any]) -> list[ShortTimeout]:
    """Return the same, given what ``readings`` read."""
    timeouts, measured = dict(read["timeouts"]), _measured(read["newest"])
    judged = [
        _judged(name, timedelta(seconds=seconds or 0), measured[name])
        for name, seconds in sorted(timeouts.items())
        if name in measured
    ]
    return [each for each in judged if each.longest > each.timeout]


def _measured(rows: Iterable[tuple[Any, ...]]) -> dict[str, list[timedelta]]:
    """Return how long the last runs without the protocol took, by queue."""
    found: defaultdict[str, list[timedelta]] = defaultdict(list)
    for queue, epoch, started, completed in rows:
        if epoch is None and started and completed and completed > started:
            found[queue].append(completed - started)
    return found


def _judged(queue: str, timeout: timedelta, runs: list[timedelta]) -> ShortTimeout:
    runs = sorted(runs)
    usual = runs[min(int(len(runs) * SHARE), len(runs) - 1)]
    return ShortTimeout(queue, timeout, runs[-1], usual, len(runs))
