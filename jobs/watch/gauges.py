"""The figures that the rules of alerts judge: what is measured each minute, and in which words it is told.

Reading asks the database, ``told`` says it and is pure, and ``alerts.notify`` judges by the thresholds that operators set. A
figure that can't be read is measured as unknown, and the others are measured all the same (I8).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, transaction

from alerts import notify
from alerts.notify import Trouble
from jobs.messaging import queue_depths
from jobs.models import QueueState
from jobs.runs import observations
from jobs.watch import message_gauges, run_gauges, worker_gauges
from jobs.watch.gauge_reading import Reading
from opsconsole.kit import addresses
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

GAUGES: dict[str, Callable[[], Reading]] = {
    "stale_jobs_day": run_gauges.stale_jobs_day,
    "quarantined_jobs": run_gauges.quarantined_jobs,
    "outbox_stuck": message_gauges.outbox_stuck,
    "no_live_worker": worker_gauges.no_live_worker,
    "unknown_runs": run_gauges.unknown_runs,
    "runs_by_hand": run_gauges.runs_by_hand,
    "worker_clocks": worker_gauges.worker_clocks,
    "short_visibility": worker_gauges.short_visibility,
    "refused_claims": run_gauges.refused_claims,
    "old_transaction": message_gauges.old_transaction,
}


def watch() -> str:
    """Measure each figure and judge each queue; returns what was measured, for the task's record."""
    observations.look_at_workers()
    observations.look_at_beats()
    measurements = notify.Measurements(GAUGES)
    measured = [f"{rule}: {_measure(measurements, rule, read)}" for rule, read in GAUGES.items()]
    measurements.keep()
    judge_queues()
    return ", ".join(measured)


def _measure(measurements: notify.Measurements, rule: str, read: Callable[[], Reading]) -> str:
    try:
        with transaction.atomic():
            reading = read()
    except DatabaseError as error:
        logger.exception("The figure of %s can't be read.", rule)
        measurements.add(rule, None, why_unknown=first_line(error))
        return "unknown"
    measurements.add(rule, reading.value, reading.words, why_unknown=reading.why_unknown)
    return "unknown" if reading.value is None else f"{reading.value:g}"


def judge_queues() -> None:
    """Open an alert per queue whose last two readings failed, and resolve it when the queue is read again."""
    read = QueueState.objects.filter(name__in=settings.QUEUES)
    names = read.filter(error="").values_list("name", flat=True)
    notify.clear_all([f"{queue_depths.UNREADABLE}:{name}" for name in names])
    for state in read.unreadable():
        _tell_unreadable(state)


def _tell_unreadable(state: QueueState) -> None:
    last = f"{state.read_at:%Y-%m-%d %H:%M} UTC" if state.read_at else "never"
    notify.fire(
        f"{queue_depths.UNREADABLE}:{state.name}",
        Trouble(
            title=f"Queue '{state.name}' can't be read",
            severity="critical",
            summary="How much waits there is unknown, and jobs can probably not be sent to it.",
            link=addresses.of_row("jobs_queuestate", state.name),
            facts=[("SQS says", state.error), ("Last read", last)],
        ),
    )
