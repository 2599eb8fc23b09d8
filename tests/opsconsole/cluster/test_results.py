"""Tests of the results of tasks: the newest successes of a group are kept, and its newest failures."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Failure, Success, Task

from opsconsole.cluster import results

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def finished(number: int, **more: Any) -> dict[str, Any]:
    now = timezone.now() + timedelta(seconds=number)
    return {
        "id": f"{number:032}",
        "name": "n",
        "func": "f",
        "args": (1, "x"),
        "kwargs": {},
        "group": "g",
        "started": now,
        "stopped": now,
        "result": f"result {number}",
        "success": True,
    } | more


def test_task_that_was_run_again_has_its_last_result() -> None:
    results.store(finished(1, success=False, result="no"))
    results.store(finished(1))
    assert Task.objects.values_list("result", "success", "args").get() == ("result 1", True, [1, "x"])


def test_success_that_nobody_wants_is_not_stored() -> None:
    results.store(finished(1, save=False))
    results.store(finished(2, save=False, success=False))
    assert Task.objects.values_list("pk", flat=True).get() == f"{2:032}"


def test_newest_successes_of_each_group_are_kept(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(results, "LOOK_EVERY", 4)
    monkeypatch.setattr(results, "_since_look", Counter())
    monkeypatch.setattr(Conf, "SAVE_LIMIT", 2)
    for number in range(3):
        results.store(finished(number + 100, group=None))
        results.store(finished(number + 200, success=False))
    for number in range(4):
        results.store(finished(number))
    assert Success.objects.filter(group="g").count() == 4
    results.store(finished(4))
    assert sorted(Success.objects.filter(group="g").values_list("result", flat=True)) == [
        "result 3",
        "result 4",
    ]
    assert Success.objects.filter(group=None).count() == 3
    assert Failure.objects.count() == 3
    with django_assert_num_queries(1):
        results.store(finished(5))


def test_newest_failures_of_each_group_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "SAVE_LIMIT", 2)
    monkeypatch.setattr(results, "MOST_DELETED", 3)
    results.store(finished(100, group="other", success=False))
    results.store(finished(0))
    Task.objects.bulk_create(
        Task(id=f"old{number:029}", name="n", func="f", group="g", success=False, started=NOW, stopped=NOW)
        for number in range(4)
    )
    monkeypatch.setattr(results, "_since_look", Counter())
    results.store(finished(10, success=False))
    # Of five failures three were too many, and three are deleted at a time.
    assert Failure.objects.filter(group="g").count() == 2
    assert Failure.objects.filter(group="g", result="result 10").exists()
    assert Failure.objects.filter(group="other").count() == Success.objects.filter(group="g").count() == 1


def test_cluster_that_starts_every_day_keeps_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "SAVE_LIMIT", 2)
    for number in range(6):
        monkeypatch.setattr(results, "_since_look", Counter())
        results.store(finished(number))
    assert sorted(Success.objects.values_list("result", flat=True)) == ["result 4", "result 5"]
