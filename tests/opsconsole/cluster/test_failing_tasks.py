"""Tests of scheduled tasks that keep failing: from the second failure in a row until a success, on each page that tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Task

from alerts.models import Alert
from opsconsole.cluster import failing_tasks, schedules, tasks
from opsconsole.cluster.task_table import PREFIX
from opsconsole.verification import running_work
from opsconsole.verification.check import Verdict, Wishes

pytestmark = pytest.mark.django_db

START = timezone.now() - timedelta(hours=3)
RESULT = "permission denied for table outbox : Traceback (most recent call last):\n  File x\nError: secret"


def ended(name: str, minute: int, *, success: bool = False, result: str = RESULT) -> None:
    at = START + timedelta(minutes=minute)
    Task.objects.create(
        id=f"{name[:20]}-{minute}",
        name="n",
        func="f",
        group=PREFIX + name,
        started=at,
        stopped=at + timedelta(seconds=1),
        success=success,
        result=result,
    )


def names() -> list[str]:
    return [task.entry.name for task in failing_tasks.failing()]


def test_one_failure_is_not_yet_failing() -> None:
    ended("prune", 0, success=True)
    ended("prune", 1)
    assert names() == []
    ended("prune", 2)
    assert names() == ["prune"]


def test_only_failures_since_the_last_success_count() -> None:
    for minute in range(5):
        ended("prune", minute)
    ended("prune", 5, success=True)
    assert names() == []
    ended("prune", 6)
    assert names() == []
    ended("prune", 7)
    [task] = failing_tasks.failing()
    assert (task.runs, task.since) == (2, START + timedelta(minutes=6))


def test_task_that_never_succeeded_is_failing() -> None:
    ended("work dead letters", 0)
    ended("work dead letters", 1, result="")
    [task] = failing_tasks.failing()
    assert task.sentence == f"2 runs in a row failed since {START:%Y-%m-%d %H:%M} UTC: it said nothing"


def test_tasks_outside_the_table_are_nobodys() -> None:
    for minute in range(3):
        ended("removed long ago", minute)
    assert names() == []


def test_nothing_failing_is_one_question(django_assert_num_queries: Any) -> None:
    ended("prune", 0)
    ended("prune", 1, success=True)
    with django_assert_num_queries(1):
        assert names() == []


def test_alert_names_the_tasks_and_ends_after_a_success() -> None:
    for minute in range(2):
        ended("prune", minute)
        ended("bulk operations", minute)
    tasks.judge()
    alert = Alert.objects.open().get(rule="failing_tasks")
    assert alert.title == "2 scheduled tasks keep failing: 'bulk operations', 'prune'"
    assert "'prune' should delete rows whose retention has ended." in alert.summary
    assert "permission denied for table outbox" in str(alert.facts)
    assert "secret" not in str(alert.facts) and "Traceback" not in str(alert.facts)

    ended("prune", 5, success=True)
    ended("bulk operations", 5, success=True)
    assert "no scheduled task keeps failing" in tasks.judge()
    alert.refresh_from_db()
    assert alert.clear_since is not None


def test_page_of_schedules_and_verify_say_it(operator: Client) -> None:
    schedules.sync()
    for minute in range(3):
        ended("prune", minute)
    page = operator.get(reverse("admin:django_q_schedule_changelist")).content.decode()
    assert page.count("Fails: the last 3 runs") == 1
    answer = running_work.schedules_run(Wishes())
    assert answer.verdict == Verdict.WRONG
    assert "The task 'prune' keeps failing: 3 runs in a row failed since" in answer.sentence
