"""The table of scheduled tasks, and the synchronisation of its copy in the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Schedule

from opsconsole.kit import intervals
from opsconsole.kit.advisory_locks import AdvisoryLock

PREFIX = "opsconsole: "
PAUSED, FOR_EVER = 0, -1


@dataclass(frozen=True)
class Entry:
    """A scheduled task. ``task`` is called without arguments every ``minutes``; ``why`` explains it to readers of the table."""

    name: str
    task: str
    minutes: int
    why: str

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def table() -> tuple[Entry, ...]:
    """Return what is scheduled now. An entry without minutes is served by a loop beside the cluster, and is left out."""
    return tuple(entry for entry in (*_with_own_interval(), *_fixed()) if entry.minutes)


def _with_own_interval() -> tuple[Entry, Entry]:
    return (
        Entry("sweep", "jobs.tasks.sweep", intervals.of_sweeps().minutes, "recover runs whose worker died"),
        Entry(
            "check dead letters",
            "jobs.tasks.check_dead_letters",
            intervals.of_dead_letter_checks().minutes,
            "find new dead letters and alert about them",
        ),
    )


def _fixed() -> tuple[Entry, ...]:
    return (
        Entry(
            "dispatch", "jobs.tasks.dispatch", 1, "send messages when the dispatcher's loop is not running"
        ),
        Entry("queues", "jobs.tasks.refresh_queues", 1, "read the depth of each queue"),
        Entry("hours", "jobs.tasks.count_hours", 1, "count how jobs ended, for the charts"),
        Entry(
            "work dead letters",
            "jobs.tasks.work_dead_letters",
            1,
            "replay and discard dead letters as operators decided",
        ),
        Entry(
            "bulk operations",
            "jobs.tasks.bulk",
            1,
            "carry out bulk operations, and resume them after a crash",
        ),
        Entry("watch", "jobs.tasks.watch", 1, "measure the figures that alert rules evaluate"),
        Entry("prune", "jobs.tasks.prune", 60, "delete rows whose retention has ended"),
        Entry("alerts", "alerts.tasks.send", 1, "send alerts when the sender's loop is not running"),
        Entry("monitors", "alerts.tasks.judge_monitors", 1, "alert when a sweep or a check is late"),
        Entry("alert history", "alerts.tasks.prune", 60, "delete alerts that were resolved half a year ago"),
        Entry(
            "dead man",
            "alerts.watch.deadman.ping_due",
            1,
            "ping the dead-man's switch",
        ),
        Entry(
            "seals", "opsconsole.seals.tasks.seal", 1, "seal the audit and the timeline, and check the seals"
        ),
        Entry("limits watch", "ratelimits.tasks.watch", 1, "measure how many requests were refused"),
        Entry("rate limits", "ratelimits.tasks.cleanup", 10, "delete records older than an hour"),
    )


def ours() -> QuerySet[Schedule]:
    schedules: QuerySet[Schedule] = Schedule.objects.filter(name__startswith=PREFIX).order_by("pk")
    return schedules


def due() -> QuerySet[Schedule]:
    """Return our schedules that are due and not paused, by the clock that django-q2 uses."""
    return ours().exclude(repeats=PAUSED).filter(next_run__lt=timezone.now())


def sync() -> list[str]:
    """Make the schedules in the database equal to the table; return a sentence per change.

    Schedules are found by name and changed in place, so that ``next_run`` and pauses (``repeats`` 0) are kept.
    Schedules without our prefix are left alone.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Two processes that synchronise at the same time take turns.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SCHEDULES])
        done = [sentence for entry in table() for sentence in _sync(entry)]
        return done + list(_remove_unknown())


def sync_intervals() -> list[str]:
    """Make only the schedules whose interval is a setting equal to the settings, when a cluster starts with them."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SCHEDULES])
        done = [sentence for entry in _with_own_interval() if entry.minutes for sentence in _sync(entry)]
        by_loop = [entry.full_name for entry in _with_own_interval() if not entry.minutes]
        return done + list(_remove(ours().filter(name__in=by_loop)))


def _sync(entry: Entry) -> Iterator[str]:
    found, *doubles = list(ours().filter(name=entry.full_name)) or [None]
    for double in doubles:
        double.delete()
        yield f"{entry.name}: removed a duplicate"
    if found is None:
        Schedule.objects.create(
            name=entry.full_name, func=entry.task, schedule_type=Schedule.MINUTES, minutes=entry.minutes
        )
        yield f"{entry.name}: added, every {entry.minutes} min"
    elif _differs(found, entry):
        _change(found, entry)
        yield f"{entry.name}: changed, every {entry.minutes} min"


def _differs(found: Schedule, entry: Entry) -> bool:
    wanted = (entry.task, Schedule.MINUTES, entry.minutes, None, None, None, None)
    return wanted != (
        found.func,
        found.schedule_type,
        found.minutes,
        found.args or None,
        found.kwargs or None,
        found.hook or None,
        found.cluster or None,
    )


def _change(found: Schedule, entry: Entry) -> None:
    # A shorter interval counts from now: the old next_run may be much later.
    latest = timezone.now() + timedelta(minutes=entry.minutes)
    Schedule.objects.filter(pk=found.pk).update(
        func=entry.task,
        schedule_type=Schedule.MINUTES,
        minutes=entry.minutes,
        args=None,
        kwargs=None,
        hook=None,
        cluster=None,
        next_run=min(found.next_run or latest, latest),
    )


def _remove_unknown() -> Iterator[str]:
    yield from _remove(ours().exclude(name__in=[entry.full_name for entry in table()]))


def _remove(obsolete: QuerySet[Schedule]) -> Iterator[str]:
    for schedule in obsolete:
        schedule.delete()
        yield f"{schedule.name.removeprefix(PREFIX)}: removed, it is no longer in the table"
