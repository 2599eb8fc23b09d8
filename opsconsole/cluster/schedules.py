"""The table of what the cluster does by the clock, and how the database's copy of it is kept in step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Schedule

PREFIX = "opsconsole: "
PAUSED, FOR_EVER = 0, -1
# Any constant of ours: two that sync at once take turns.
SYNC_LOCK = 7_340_113


@dataclass(frozen=True)
class Entry:
    """``task`` is called without arguments every so many ``minutes``; ``why`` is for whoever reads the table."""

    name: str
    task: str
    minutes: int
    why: str

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def table() -> tuple[Entry, ...]:
    sweep_minutes = max(1, settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS // 60)
    check_minutes = max(1, settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS // 60)
    return (
        Entry("sweep", "jobs.tasks.sweep", sweep_minutes, "start runs again whose worker died"),
        Entry("dispatch", "jobs.tasks.dispatch", 1, "send messages when the dispatcher's loop does not run"),
        Entry("queues", "jobs.tasks.refresh_queues", 1, "read the depth of each queue"),
        Entry("hours", "jobs.tasks.count_hours", 1, "count how jobs ended, for the charts"),
        Entry(
            "check dead letters",
            "jobs.tasks.check_dead_letters",
            check_minutes,
            "see and tell new dead letters",
        ),
        Entry(
            "work dead letters",
            "jobs.tasks.work_dead_letters",
            1,
            "replay and discard what operators decided",
        ),
        Entry("bulk operations", "jobs.tasks.bulk", 1, "carry out bulk operations, also after a crash"),
        Entry("watch", "jobs.tasks.watch", 1, "measure what the rules of alerts judge"),
        Entry("prune", "jobs.tasks.prune", 60, "delete what has served its time"),
        Entry("alerts", "alerts.tasks.send", 1, "send alerts when the sender's loop does not run"),
        Entry("monitors", "alerts.tasks.judge_monitors", 1, "tell when a sweep or a check is late"),
        Entry("alert history", "alerts.tasks.prune", 60, "delete alerts resolved half a year ago"),
        Entry(
            "dead man",
            "alerts.watch.deadman.ping_due",
            1,
            "tell what watches from outside that we still look",
        ),
        Entry("limits watch", "ratelimits.tasks.watch", 1, "measure how many requests were refused"),
        Entry("rate limits", "ratelimits.tasks.cleanup", 10, "delete records older than an hour"),
    )


def ours() -> QuerySet[Schedule]:
    schedules: QuerySet[Schedule] = Schedule.objects.filter(name__startswith=PREFIX).order_by("pk")
    return schedules


def due() -> QuerySet[Schedule]:
    """Schedules of ours, not paused, whose time has come, by the clock that django-q goes by."""
    return ours().exclude(repeats=PAUSED).filter(next_run__lt=timezone.now())


def sync() -> list[str]:
    """Make the database's schedules those of the table; returns a sentence for each thing that was done.

    Found by name and changed in place, because next_run and a pause (repeats 0) are not ours to lose.
    Schedules without our prefix are left alone.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SYNC_LOCK])
        done = [sentence for entry in table() for sentence in _sync(entry)]
        return done + list(_remove_unknown())


def _sync(entry: Entry) -> Iterator[str]:
    found, *doubles = list(ours().filter(name=entry.full_name)) or [None]
    for double in doubles:
        double.delete()
        yield f"{entry.name}: removed a double"
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
    # A shorter interval counts from now: the old next_run may lie far beyond it.
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
    for schedule in ours().exclude(name__in=[entry.full_name for entry in table()]):
        schedule.delete()
        yield f"{schedule.name.removeprefix(PREFIX)}: removed, it is no longer in the table"
