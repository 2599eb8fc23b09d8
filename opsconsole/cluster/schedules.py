"""The copy of the task table in the database: django-q2's schedules, their synchronisation, and which of them count.

A row of that table may name any function. What runs is therefore never taken from a row: a row counts when its name and
its function are those of an entry, and every other one is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Concat, Least, Now
from django_q.models import Schedule

from opsconsole.cluster.task_table import PREFIX, ScheduledTask, every_entry, table, with_own_interval
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.postgresql.timestamps import far

PAUSED, FOR_EVER = 0, -1
# No function has a line break in its name, so that name and function can be told apart.
BETWEEN = "\n"
# How much later than its interval a schedule may be planned: the database's clock may be another one after a failover.
MOST_AHEAD = timedelta(days=1)


def ours() -> QuerySet[Schedule]:
    schedules: QuerySet[Schedule] = Schedule.objects.filter(name__startswith=PREFIX).order_by("pk")
    return schedules


def due() -> QuerySet[Schedule]:
    """Return our schedules that are due and not paused, by the database's clock: those of hosts differ, and may jump."""
    copies = _with_entry(ours()).filter(entry__in=_keys(table()))
    return copies.exclude(repeats=PAUSED).filter(next_run__lt=Now())


def refused() -> QuerySet[Schedule]:
    """Return the schedules that never run, because they name a function or have a name that is not in the table."""
    return _with_entry(Schedule.objects.order_by("pk")).exclude(entry__in=_keys(every_entry()))


def present() -> QuerySet[Schedule]:
    """Return the schedules that are copies of entries. A cluster that starts makes the two whose interval is a setting."""
    return _with_entry(ours()).filter(entry__in=_keys(every_entry()))


def entry_of(schedule: Schedule) -> ScheduledTask | None:
    """Return the entry that a schedule is the copy of, or None when it is refused."""
    named = (schedule.name, schedule.func)
    return next((entry for entry in every_entry() if (entry.full_name, entry.task) == named), None)


def shown_name(schedule: Schedule) -> str:
    """Return what a schedule is called on pages: one of ours as the task table calls it."""
    entry = entry_of(schedule)
    return entry.name if entry else str(schedule.name or f"#{schedule.pk}")


def _with_entry(schedules: QuerySet[Schedule]) -> QuerySet[Schedule]:
    """Give each schedule its name and function as one text, ``entry``. A condition for each entry would take long to write."""
    entry = Concat("name", Value(BETWEEN), "func", output_field=TextField())
    named: QuerySet[Schedule] = schedules.alias(entry=entry)
    return named


def _keys(entries: tuple[ScheduledTask, ...]) -> list[str]:
    """Return the texts of the schedules that are copies of these entries."""
    return [f"{entry.full_name}{BETWEEN}{entry.task}" for entry in entries]


def mend_times() -> None:
    """Let our schedules be due now whose time is missing, such as Python can't hold ('-infinity'), or much later than planned.

    A clock that was days ahead for a moment would otherwise stop them for as long. The database's clock judges, so that a
    host with a wrong one does not.
    """
    names = defaultdict(list)
    for each in table():
        names[each.minutes].append(each.full_name)
    late = (
        Q(name__in=each, next_run__gt=Now() + timedelta(minutes=minutes) + MOST_AHEAD)
        for minutes, each in names.items()
    )
    wrong = Q(far("next_run"), Q(next_run=None), *late, _connector=Q.OR)
    ours().filter(wrong).update(next_run=Now())


def sync() -> list[str]:
    """Make the schedules in the database equal to the table; return a sentence per change.

    Schedules are found by name and changed in place, so that ``next_run`` and pauses (``repeats`` 0) are kept.
    Schedules without our prefix are left alone.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Two processes that synchronise at the same time take turns.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SCHEDULES])
        mend_times()
        done = [sentence for entry in table() for sentence in _sync(entry)]
        return done + list(_remove_unknown())


def sync_intervals() -> list[str]:
    """Make only the schedules whose interval is a setting equal to the settings, when a cluster starts with them."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.SCHEDULES])
        mend_times()
        done = [sentence for entry in with_own_interval() if entry.minutes for sentence in _sync(entry)]
        by_loop = [entry.full_name for entry in with_own_interval() if not entry.minutes]
        return done + list(_remove(ours().filter(name__in=by_loop)))


def _sync(entry: ScheduledTask) -> Iterator[str]:
    schedule, *doubles = list(ours().filter(name=entry.full_name)) or [None]
    for double in doubles:
        double.delete()
        yield f"{entry.name}: removed a duplicate"
    if schedule is None:
        Schedule.objects.create(
            name=entry.full_name,
            func=entry.task,
            schedule_type=Schedule.MINUTES,
            minutes=entry.minutes,
            next_run=Now(),
        )
        yield f"{entry.name}: added, every {entry.minutes} min"
    elif _differs(schedule, entry):
        _change(schedule, entry)
        yield f"{entry.name}: changed, every {entry.minutes} min"


def _differs(schedule: Schedule, entry: ScheduledTask) -> bool:
    wanted = (entry.task, Schedule.MINUTES, entry.minutes, None, None, None, None)
    return wanted != (
        schedule.func,
        schedule.schedule_type,
        schedule.minutes,
        schedule.args or None,
        schedule.kwargs or None,
        schedule.hook or None,
        schedule.cluster or None,
    )


def _change(schedule: Schedule, entry: ScheduledTask) -> None:
    # A shorter interval counts from now: the old next_run may be much later.
    latest = Now() + timedelta(minutes=entry.minutes)
    Schedule.objects.filter(pk=schedule.pk).update(
        func=entry.task,
        schedule_type=Schedule.MINUTES,
        minutes=entry.minutes,
        args=None,
        kwargs=None,
        hook=None,
        cluster=None,
        # Without a time, the other one counts.
        next_run=Least("next_run", latest),
    )


def _remove_unknown() -> Iterator[str]:
    yield from _remove(ours().exclude(name__in=[entry.full_name for entry in table()]))


def _remove(obsolete: QuerySet[Schedule]) -> Iterator[str]:
    for schedule in obsolete:
        schedule.delete()
        yield f"{schedule.name.removeprefix(PREFIX)}: removed, it is no longer in the table"
