"""Tests of the schedules table and its synchronization, which keeps what users changed."""

from __future__ import annotations

import inspect
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import Schedule

from jobs.watch import retention
from opsconsole.cluster import schedules
from opsconsole.cluster.schedules import PAUSED, ours, sync
from opsconsole.cluster.task_table import PREFIX, ScheduledTask, table
from opsconsole.kit import intervals
from tests.racing import race

pytestmark = pytest.mark.django_db

NAMES = [entry.full_name for entry in table()]


def state() -> list[dict[str, Any]]:
    return list(Schedule.objects.order_by("pk").values())


def sweep() -> Schedule:
    return ours().get(name=f"{PREFIX}sweep")


@pytest.mark.parametrize("entry", table(), ids=lambda entry: entry.name)
def test_each_entry_names_a_task_that_runs_without_arguments(entry: ScheduledTask) -> None:
    task = import_string(entry.task)
    inspect.signature(task).bind()
    task()
    assert entry.minutes >= 1
    assert entry.why


def test_names_are_unique() -> None:
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize(("seconds", "minutes"), [(60, 1), (90, 1), (120, 2), (179, 2), (3600, 60)])
def test_intervals_are_whole_minutes_of_the_settings(settings: Any, seconds: int, minutes: int) -> None:
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS = seconds
    assert [(entry.name, entry.minutes) for entry in table()[:2]] == [
        ("sweep", minutes),
        ("check dead letters", minutes),
    ]
    assert intervals.of_sweeps().every == timedelta(minutes=minutes)


@pytest.mark.parametrize("seconds", [5, 30, 59])
def test_intervals_below_a_minute_are_not_scheduled(settings: Any, seconds: int) -> None:
    sync()
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS = seconds
    assert intervals.of_sweeps().every == timedelta(seconds=seconds)
    assert {"sweep", "check dead letters"}.isdisjoint(entry.name for entry in table())
    assert schedules.sync_intervals() == [
        "sweep: removed, it is no longer in the table",
        "check dead letters: removed, it is no longer in the table",
    ]
    assert ours().count() == len(table())
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = 120
    assert schedules.sync_intervals() == ["sweep: added, every 2 min"]
    assert schedules.sync_intervals() == []


def test_first_sync_adds_all_and_the_second_changes_nothing() -> None:
    assert len(sync()) == len(table())
    assert sorted(ours().values_list("name", flat=True)) == sorted(NAMES)
    before = state()
    assert sync() == []
    assert state() == before


def test_pause_and_the_next_run_survive() -> None:
    sync()
    later = timezone.now() + timedelta(minutes=1)
    Schedule.objects.update(repeats=PAUSED, next_run=later)
    assert sync() == []
    assert set(Schedule.objects.values_list("repeats", "next_run")) == {(PAUSED, later)}


@pytest.mark.parametrize(
    "change",
    [
        {"func": "os.system"},
        {"minutes": 7},
        {"schedule_type": Schedule.HOURLY},
        {"args": "1, 2"},
        {"kwargs": "x=1"},
        {"hook": "os.system"},
        {"cluster": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_schedule_is_corrected_in_place(change: dict[str, Any]) -> None:
    sync()
    Schedule.objects.update(next_run=timezone.now())
    before = state()
    found = sweep()
    Schedule.objects.filter(pk=found.pk).update(**change, repeats=PAUSED)
    assert sync() == ["sweep: changed, every 2 min"]
    before[0]["repeats"] = PAUSED
    assert state() == before


def test_shorter_interval_does_not_wait_for_the_old_one(settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = 3_600
    sync()
    Schedule.objects.filter(pk=sweep().pk).update(next_run=timezone.now() + timedelta(hours=1))
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = 60
    sync()
    assert sweep().next_run <= timezone.now() + timedelta(minutes=1)


def test_only_own_obsolete_schedules_are_removed() -> None:
    sync()
    Schedule.objects.create(name=f"{PREFIX}gone", func="jobs.tasks.gone")
    Schedule.objects.create(name="theirs", func="theirs.task")
    Schedule.objects.create(name=None, func="nameless.task")
    assert sync() == ["gone: removed, it is no longer in the table"]
    assert Schedule.objects.count() == len(table()) + 2


def test_oldest_of_duplicates_is_kept() -> None:
    sync()
    oldest = sweep()
    Schedule.objects.create(name=oldest.name, func=oldest.func, minutes=2, schedule_type=Schedule.MINUTES)
    assert sync() == ["sweep: removed a duplicate"]
    assert sweep() == oldest


@pytest.mark.django_db(transaction=True)
def test_concurrent_syncs_add_each_schedule_once() -> None:
    assert sorted(map(len, race([sync] * 4))) == [0, 0, 0, len(table())]
    assert ours().count() == len(table())


def test_due_excludes_paused_future_and_foreign_schedules() -> None:
    sync()
    past, future = timezone.now() - timedelta(hours=1), timezone.now() + timedelta(hours=1)
    Schedule.objects.update(next_run=future)
    assert not schedules.due().exists()
    Schedule.objects.filter(name__in=NAMES[:2]).update(next_run=past)
    Schedule.objects.filter(name=NAMES[0]).update(repeats=PAUSED)
    Schedule.objects.create(name="theirs", func="theirs.task", next_run=past)
    assert [schedule.name for schedule in schedules.due()] == [NAMES[1]]


def test_command_reports_changes() -> None:
    sync()
    Schedule.objects.filter(pk=sweep().pk).update(repeats=PAUSED)
    Schedule.objects.create(name=f"{PREFIX}gone", func="jobs.tasks.gone")
    said = StringIO()
    call_command("sync_schedules", stdout=said)
    assert said.getvalue().splitlines() == [
        "gone: removed, it is no longer in the table",
        "sweep: paused, left so",
        f"{len(table())} schedules, 1 changes.",
    ]


def test_task_record_reports_pruning() -> None:
    told = ", ".join(f"{name}: 0" for name in retention.prune() | {"figures": 0})
    told += ", event partitions: none missing"
    assert import_string("jobs.tasks.prune")() == told
