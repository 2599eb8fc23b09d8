"""The figures that the rules of alerts judge: what is measured each minute, and in which words it is told.

Reading asks the database, ``told`` says it and is pure, and ``alerts.notify`` judges by the thresholds that operators set. A
figure that can't be read is measured as unknown, and the others are measured all the same (I8).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count
from django.db.models.functions import Now
from django.urls import reverse

from alerts import notify
from alerts.notify import UNTITLED, Trouble
from jobs.messaging import queue_depths
from jobs.models import Job, Outbox, QueueState, RecoveryControl, Status, WorkerHeartbeat
from jobs.models.job import UNKNOWN_CUSTOMER
from jobs.models.worker import stale_after, workers_are_seen
from jobs.recovery import outlook, outlook_wording, surroundings
from jobs.runs import observations, visibility, worker_kinds
from jobs.runs.visibility import ShortTimeout
from jobs.watch import lost_workers, old_transactions
from jobs.watch import refused_claims as jobs_refused
from jobs.watch.old_transactions import Obstacle
from opsconsole.kit import counting
from opsconsole.kit.counting import figure, many
from opsconsole.kit.display import clock_time
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

CLOCKS_NAMED = 10
# Shorter waits are those of workers that are being restarted.
UNCLAIMED_AFTER = timedelta(minutes=2)


@dataclass(frozen=True)
class Reading:
    """A figure for its rule, and the words with it. A ``value`` of None is unknown, for the reason ``why_unknown``."""

    value: float | None
    words: Trouble = UNTITLED
    why_unknown: str = ""


def watch() -> str:
    """Measure each figure and judge each queue; returns what was measured, for the task's record."""
    observations.look_at_workers()
    observations.look_at_beats()
    measured = [f"{rule}: {_measure(rule, read)}" for rule, read in GAUGES.items()]
    judge_queues()
    return ", ".join(measured)


def _measure(rule: str, read: Callable[[], Reading]) -> str:
    try:
        with transaction.atomic():
            reading = read()
    except DatabaseError as error:
        logger.exception("The figure of %s can't be read.", rule)
        notify.measure(rule, None, why_unknown=first_line(error))
        return "unknown"
    notify.measure(rule, reading.value, reading.words, why_unknown=reading.why_unknown)
    return "unknown" if reading.value is None else f"{reading.value:g}"


# --- stale jobs in a day ---


def stale_jobs_day() -> Reading:
    now = counting.count(Job.objects.stale())
    lost = counting.count(lost_workers.within_a_day())
    return told_stale(lost, taken_in_a_day(), now, _prospect() if now else "")


def _prospect() -> str:
    """Return what sweeps do about the runs that are stale now, with the time, because the alert may be read later."""
    around = surroundings.read()
    return f"At {clock_time(around.read_at)}: {outlook.of_sweeps(around).sentence}"


def taken_in_a_day() -> Counter[str]:
    """Count the runs that sweeps or people took from workers that had died in the last 24 hours, by kind of event.

    There is one event per run: a recovery raises the epoch, and quarantine ends it. A run that is stale now has none yet.
    """
    return Counter(dict(lost_workers.events().values_list("kind").annotate(Count("pk"))))


def told_stale(total: int, taken: Counter[str], now: int, prospect: str) -> Reading:
    """Say how many jobs lost a worker: those that the overview counts and its list shows. Of a job, several runs may be lost."""
    by_hand = sum(taken[kind] for kind in lost_workers.BY_HAND)
    return Reading(
        total,
        Trouble(
            title=f"{many(total, 'job lost its worker', 'jobs lost their worker')} within 24 hours",
            summary="Workers should not die so often: see why they did.",
            link=_list_of("job", "?lost=day"),
            facts=(
                ("Runs started again", figure(taken[lost_workers.Kind.RECOVERED])),
                ("Quarantined", figure(taken[lost_workers.Kind.QUARANTINED])),
                *((("Requeued or cancelled by hand", figure(by_hand)),) if by_hand else ()),
                ("Stale now", figure(now)),
                *((("Recovery", prospect),) if prospect else ()),
            ),
        ),
    )


# --- quarantined jobs ---


def quarantined_jobs() -> Reading:
    jobs = Job.objects.filter(status=Status.QUARANTINED)
    latest = jobs.order_by("-created_at", "-pk").values_list("pk", "customer_id")[:3]
    return told_quarantined(
        counting.count(jobs), [f"{customer or UNKNOWN_CUSTOMER}: job {pk}" for pk, customer in latest]
    )


def told_quarantined(count: int, latest: list[str]) -> Reading:
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'job')} in quarantine",
            summary="Nothing starts them again but an operator: mend the cause, then release them.",
            link=_list_of("job", "?status=quarantined"),
            facts=(("Newest", "\n".join(latest)),) if latest else (),
        ),
    )


# --- messages that are not sent ---


def outbox_stuck() -> Reading:
    stuck = Outbox.objects.stuck()
    failed = stuck.exclude(last_error="").order_by("available_at").values_list("last_error", flat=True)
    return told_stuck(counting.count(stuck), failed.first() or "")


def told_stuck(count: int, error: str) -> Reading:
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'message')} should have been sent by now",
            summary=(
                "SQS does not take them." if error else "Nobody sends them: see that the dispatcher runs."
            ),
            link=_list_of("outbox", "?state=overdue"),
            facts=(("SQS says", error),) if error else (),
        ),
    )


# --- runs that may be alive or dead ---


def unknown_runs() -> Reading:
    state = RecoveryControl.load()
    return told_unknown(counting.count(surroundings.unknown_runs(state.cutoff)), state)


def told_unknown(count: int, state: RecoveryControl) -> Reading:
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'silent run')}, and it is unknown whether they are alive",
            summary="Nothing proves that their workers died, so recovery leaves them alone. See whether they run, then "
            "requeue them by hand or choose a rule for unknown runs.",
            link=_list_of("job", "?stale=unknown"),
            facts=(("Rule", outlook_wording.of_unknown_rule(state)),),
        ),
    )


# --- jobs that the database does not let start ---


def refused_claims() -> Reading:
    refused = jobs_refused.present()
    return Reading(refused.count, refused.words)


# --- clocks of workers ---


def worker_clocks() -> Reading:
    clocks = worker_kinds.wrong_clocks()
    first = clocks.values_list("pk", "clock_offset")[:CLOCKS_NAMED]
    offsets = [
        (worker_kinds.in_short(worker), worker_kinds.offset_in_words(offset))
        for worker, offset in first
        if offset
    ]
    return told_clocks(counting.count(clocks), offsets)


def told_clocks(count: int, offsets: list[tuple[str, str]]) -> Reading:
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'worker has a wrong clock', 'workers have a wrong clock')}",
            summary="Their heartbeats count from when the console sees them change. Let the database write the time of a "
            "heartbeat, or set the clocks.",
            link=_list_of("workerheartbeat"),
            facts=offsets,
        ),
    )


# --- visibility timeouts that are shorter than runs ---


def short_visibility() -> Reading:
    return told_short_visibility(visibility.short_timeouts())


def told_short_visibility(short: list[ShortTimeout]) -> Reading:
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
            link=_list_of("queuestate"),
            facts=[(f"Queue '{each.queue}'", each.sentence) for each in short],
        ),
    )


# --- transactions that keep dead rows from being removed ---


def old_transaction() -> Reading:
    return told_old_transaction(old_transactions.present())


def told_old_transaction(obstacle: Obstacle) -> Reading:
    if obstacle.age is None:
        return Reading(None, why_unknown=f"{obstacle.sentence}. {old_transactions.WHY_UNKNOWN}")
    holder = obstacle.holder
    facts = (("Held back by", holder.who), ("To end it", holder.ending)) if holder else ()
    return Reading(
        int(obstacle.age.total_seconds() / 60),
        Trouble(
            title=f"An old transaction has kept dead rows from being removed for {spell(obstacle.age)}",
            summary="Taking the next messages becomes slower with each dead row. See what the transaction is for, and end it.",
            link=_list_of("outbox"),
            facts=(*facts, ("Dead rows of jobs and messages", figure(obstacle.dead_rows))),
        ),
    )


# --- no live worker while jobs wait ---


def no_live_worker() -> Reading:
    return told_no_worker(jobs_without_workers(), nobody_beats_for())


def nobody_beats_for() -> timedelta:
    """Half the threshold: a deploy may restart all workers at once."""
    return stale_after() / 2


def jobs_without_workers() -> int:
    """Count the jobs that wait while no worker is alive; none while any worker beats, or where none would be seen."""
    if WorkerHeartbeat.objects.beating(nobody_beats_for()).exists() or not workers_are_seen():
        return 0
    waiting = Job.objects.startable(for_=UNCLAIMED_AFTER).filter(updated_at__lt=Now() - UNCLAIMED_AFTER)
    return counting.count(waiting)


def told_no_worker(waiting: int, quiet_for: timedelta) -> Reading:
    return Reading(
        waiting,
        Trouble(
            title=f"{many(waiting, 'job waits', 'jobs wait')} and no worker is alive",
            summary=f"No worker has beaten for {spell(quiet_for)}. Start workers, or see why their heartbeats don't arrive.",
            link=_list_of("workerheartbeat"),
        ),
    )


# --- queues that can't be read ---


def judge_queues() -> None:
    """Open an alert per queue whose last two readings failed, and resolve it when the queue is read again."""
    read = QueueState.objects.filter(name__in=settings.QUEUES)
    for name in read.filter(error="").values_list("name", flat=True):
        notify.clear(f"{queue_depths.UNREADABLE}:{name}")
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
            link=_list_of("queuestate"),
            facts=[("SQS says", state.error), ("Last read", last)],
        ),
    )


def _list_of(model: str, query: str = "") -> str:
    return reverse(f"admin:jobs_{model}_changelist") + query


GAUGES: dict[str, Callable[[], Reading]] = {
    "stale_jobs_day": stale_jobs_day,
    "quarantined_jobs": quarantined_jobs,
    "outbox_stuck": outbox_stuck,
    "no_live_worker": no_live_worker,
    "unknown_runs": unknown_runs,
    "worker_clocks": worker_clocks,
    "short_visibility": short_visibility,
    "refused_claims": refused_claims,
    "old_transaction": old_transaction,
}
