"""Tests of the scheduler: it queues what is due, and refuses schedules that are not in the task table."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule, Task

from opsconsole import overview
from opsconsole.cluster import packages, scheduler, schedules
from opsconsole.cluster.broker import ProbedBroker
from opsconsole.cluster.schedules import PAUSED
from opsconsole.cluster.task_table import PREFIX, table

pytestmark = pytest.mark.django_db

SWEEP = f"{PREFIX}sweep"


@pytest.fixture(autouse=True)
def nothing_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_logged", set())


@pytest.fixture
def sweep() -> Schedule:
    """Return the schedule of the sweep, as the only one that is due."""
    schedules.sync()
    Schedule.objects.update(next_run=timezone.now() + timedelta(days=1))
    Schedule.objects.filter(name=SWEEP).update(next_run=timezone.now() - timedelta(seconds=1))
    row: Schedule = Schedule.objects.get(name=SWEEP)
    return row


def queued() -> list[dict[str, Any]]:
    return [packages.unpack(payload) for payload in OrmQ.objects.values_list("payload", flat=True)]


def test_due_schedule_is_queued_once_and_keeps_its_rhythm(sweep: Schedule) -> None:
    scheduler.queue_due()
    scheduler.queue_due()
    [task] = queued()
    assert (task["func"], task["args"], task["group"]) == ("jobs.tasks.sweep", (), SWEEP)
    after = Schedule.objects.get(pk=sweep.pk)
    assert after.next_run == sweep.next_run + timedelta(minutes=2)
    assert after.task == task["id"]


def test_downtime_is_made_up_for_by_one_run(sweep: Schedule) -> None:
    began = timezone.now() - timedelta(hours=4, seconds=30)
    Schedule.objects.filter(pk=sweep.pk).update(next_run=began)
    scheduler.queue_due()
    assert len(queued()) == 1
    after = Schedule.objects.get(pk=sweep.pk).next_run
    assert timezone.now() < after <= timezone.now() + timedelta(minutes=2)
    assert (after - began) % timedelta(minutes=2) == timedelta(0)


@pytest.mark.parametrize("hours", [6, -6])
def test_host_with_a_wrong_clock_neither_plans_nor_takes_by_it(
    sweep: Schedule, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Schedules planned by a clock that is hours ahead would rest for hours, and what it enqueues would wait for as long."""
    right = timezone.now
    early = Schedule.objects.exclude(pk=sweep.pk).earliest("pk")
    Schedule.objects.filter(pk=early.pk).update(next_run=right() + timedelta(hours=1))
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
    scheduler.queue_due()
    schedules.sync()
    monkeypatch.undo()

    assert [task["func"] for task in queued()] == ["jobs.tasks.sweep"]
    assert Schedule.objects.get(pk=sweep.pk).next_run <= timezone.now() + timedelta(minutes=2)
    broker = ProbedBroker(list_key=Conf.CLUSTER_NAME)
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=-hours))
    [(task_id, _)] = broker.take() or []
    # Leased for as long as such a task may take: another cluster, whose clock is wrong the other way, must not take it, too.
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
    assert broker.take() is None
    monkeypatch.undo()
    lease = OrmQ.objects.get(pk=task_id).lock - timezone.now()
    assert timedelta(0) < lease <= timedelta(seconds=Conf.RETRY)


@pytest.mark.parametrize("time", ["-infinity", "infinity", "0044-03-15 BC", "2999-01-01", None])
def test_schedule_whose_time_is_missing_or_far_away_is_due_now(sweep: Schedule, time: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_q_schedule SET next_run = %s::timestamptz WHERE name = %s", [time, SWEEP]
        )
    scheduler.queue_due()
    scheduler.queue_due()
    assert [task["func"] for task in queued()] == ["jobs.tasks.sweep"]
    schedules.sync()


def test_paused_schedule_is_not_queued(sweep: Schedule) -> None:
    Schedule.objects.filter(pk=sweep.pk).update(repeats=PAUSED)
    scheduler.queue_due()
    assert queued() == []


def test_what_others_wrote_is_refused_and_told_and_stops_nothing(
    sweep: Schedule, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = tmp_path / "trace"
    past = timezone.now() - timedelta(hours=1)
    forged: list[dict[str, Any]] = [
        {"name": "theirs", "func": "os.mkdir", "args": repr(str(trace))},
        {"name": None, "func": "os.mkdir", "args": repr(str(trace)), "kwargs": "q_options={'sync': True}"},
        {"name": SWEEP, "func": "os.mkdir", "args": repr(str(trace)), "kwargs": "q_options={'sync': True}"},
        {"name": f"{PREFIX}gone", "func": "jobs.tasks.gone"},
        # The right function under a wrong name, and a row that django-q2's scheduler can't read.
        {"name": "mine", "func": "jobs.tasks.sweep"},
        {"name": "broken", "func": "x", "args": "1(", "schedule_type": Schedule.CRON, "cron": "no"},
    ]
    Schedule.objects.bulk_create([Schedule(next_run=past, **row) for row in forged])
    scheduler.queue_due()
    scheduler.queue_due()
    assert [task["func"] for task in queued()] == ["jobs.tasks.sweep"]
    assert not trace.exists()
    assert not Task.objects.exists()
    assert schedules.refused().count() == len(forged)
    refusals = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(refusals) == len(forged)
    overview.memory.clear()
    seen = overview.read()
    assert seen.refused_schedules == len(forged)
    [finding] = [each for each in findings_of(seen) if "schedules are refused" in each.sentence]
    assert finding.tone == "bad"
    overview.memory.clear()


def test_overview_says_that_schedules_were_never_made() -> None:
    """A cluster that starts makes two of them by itself, so that sweeps run and nothing else does."""
    overview.memory.clear()
    assert not [each for each in findings_of(overview.read()) if "missing" in each.sentence]
    schedules.sync_intervals()
    overview.memory.clear()
    [finding] = [each for each in findings_of(overview.read()) if "missing" in each.sentence]
    assert finding.sentence.startswith(f"{len(table()) - 2} scheduled tasks are missing")
    assert "sync_schedules" in finding.advice
    schedules.sync()
    overview.memory.clear()
    assert not [each for each in findings_of(overview.read()) if "missing" in each.sentence]
    overview.memory.clear()


def findings_of(seen: overview.Overview) -> list[overview.Finding]:
    return overview.findings(seen, overview.surroundings_now(seen))


def test_arguments_of_a_schedule_are_not_read(sweep: Schedule) -> None:
    Schedule.objects.filter(pk=sweep.pk).update(
        args="1(", kwargs="q_options={'sync': True, 'hook': 'os.system'}", hook="os.system", cluster="other"
    )
    scheduler.queue_due()
    [task] = queued()
    assert task["args"] == ()
    assert "hook" not in task


def test_our_schedules_are_not_refused(settings: Any) -> None:
    schedules.sync()
    assert schedules.due().model.objects.count() == len(table())
    assert not schedules.refused().exists()
    # A web process may have other intervals than the cluster for a while.
    settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS = 30
    assert not schedules.refused().exists()
