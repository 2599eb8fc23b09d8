"""Gauges about workers: none that lives while jobs wait, wrong clocks, and visibility timeouts that are shorter than runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice

from alerts.notify import Trouble
from jobs.intake import waits
from jobs.models import Job, WorkerHeartbeat
from jobs.models.worker import stale_after, workers_are_seen
from jobs.runs import visibility, worker_kinds
from jobs.runs.visibility import ShortTimeout
from jobs.watch.gauge_reading import Reading, list_of
from opsconsole.kit import addresses, counting
from opsconsole.kit.counting import many
from opsconsole.kit.durations import spell

CLOCKS_NAMED, CLOCKS_LINKED = 10, 3
# Shorter waits are those of workers that are being restarted.
UNCLAIMED_AFTER = timedelta(minutes=2)
QUEUES_LINKED = 3
START_WORKERS = "Start workers, or find out why their heartbeats don't arrive."


def no_live_worker() -> Reading:
    return no_worker_reading(jobs_without_workers(), nobody_beats_for())


def nobody_beats_for() -> timedelta:
    """Half the threshold: a deploy may restart all workers at once."""
    return stale_after() / 2


def jobs_without_workers() -> int:
    """Count the jobs that wait while no worker is alive; none while any worker beats, or where none would be seen."""
    if WorkerHeartbeat.objects.beating(nobody_beats_for()).exists() or not workers_are_seen():
        return 0
    return counting.count(waits.by_index(Job.objects.all(), least=UNCLAIMED_AFTER))


def no_worker_reading(waiting: int, quiet_for: timedelta) -> Reading:
    return Reading(
        waiting,
        Trouble(
            title=no_worker_in_words(waiting),
            summary=f"No worker has beaten for {spell(quiet_for)}. {START_WORKERS}",
            link=list_of("workerheartbeat"),
        ),
    )


def no_worker_in_words(waiting: int) -> str:
    return f"{many(waiting, 'job waits', 'jobs wait')} and no worker is alive"


def worker_clocks() -> Reading:
    clocks = worker_kinds.wrong_clocks()
    count = counting.count(clocks)
    first = clocks.values_list("pk", "clock_offset")[:CLOCKS_NAMED] if count else ()
    offsets = {worker: worker_kinds.offset_in_words(offset) for worker, offset in first if offset}
    return clocks_reading(count, offsets)


def clocks_reading(count: int, offsets: Mapping[str, str]) -> Reading:
    """Say how many clocks are wrong. ``offsets``: by how much, by the first workers."""
    names = {worker: worker_kinds.in_short(worker) for worker in offsets}
    return Reading(
        count,
        Trouble(
            title=worker_kinds.wrong_clocks_in_words(count),
            summary=f"{worker_kinds.CLOCKS_COUNT_AS_SEEN} Let the database write the time of a heartbeat, or set the clocks.",
            link=list_of("workerheartbeat"),
            facts=[(names[worker], offset) for worker, offset in offsets.items()],
            links=[
                (f"Worker {name}", addresses.of_row("jobs_workerheartbeat", worker))
                for worker, name in islice(names.items(), CLOCKS_LINKED)
            ],
        ),
    )


def short_visibility() -> Reading:
    return short_visibility_reading(visibility.short_timeouts())


def short_visibility_reading(short: list[ShortTimeout]) -> Reading:
    title = many(
        len(short),
        "queue delivers messages again during their runs",
        "queues deliver messages again during their runs",
    )
    return Reading(
        len(short),
        Trouble(
            title=title,
            summary="Its visibility timeout is shorter than runs of workers without the console's protocol, so that jobs run twice at "
            "once and become dead letters. Raise the timeout.",
            link=list_of("queuestate"),
            facts=[(f"Queue '{each.queue}'", each.sentence) for each in short],
            links=[
                (f"Queue '{each.queue}'", addresses.of_row("jobs_queuestate", each.queue))
                for each in short[:QUEUES_LINKED]
            ],
        ),
    )
