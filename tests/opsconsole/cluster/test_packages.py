"""Tests of the queue's packages: only a task that this console signed, of a function in the table, comes out of it."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import signing
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Task
from django_q.signing import PickleSerializer, SignedPackage
from django_q.tasks import async_task

from opsconsole.cluster import broker, packages
from opsconsole.cluster.packages import PackageRefused
from opsconsole.cluster.task_table import PROBE
from tests.traps import Trap, pickled

pytestmark = pytest.mark.django_db

TASK = {"id": "1", "name": "n", "func": "jobs.tasks.sweep", "args": [], "kwargs": {}}


def signed(task: object, *, key: str | None = None, salt: str = packages.SALT) -> str:
    return signing.dumps(task, key=key, salt=salt)


def taken() -> list[Any]:
    """Return the tasks that django-q2's pusher would put into its queue."""
    return [SignedPackage.loads(package) for _, package in get_broker().dequeue() or []]


def queue(payload: str) -> OrmQ:
    row: OrmQ = OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload=payload, lock=timezone.now())
    return row


def test_queue_holds_signed_json() -> None:
    async_task(PROBE, "a", 1, group="g", save=False)
    text = base64.urlsafe_b64decode(OrmQ.objects.get().payload.split(":")[0] + "==")
    stored = json.loads(text)
    assert (stored["func"], stored["args"], stored["group"]) == (PROBE, ["a", 1], "g")
    [task] = taken()
    assert (task["func"], task["args"], task["kwargs"], task["save"]) == (PROBE, ("a", 1), {}, False)
    assert abs((timezone.now() - task["started"]).total_seconds()) < 60


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("os.system", {}),
        ("jobs.tasks", {}),
        (print, {}),
        (PROBE, {"hook": "os.system"}),
        (PROBE, {"chain": [("os.system", ())]}),
        (PROBE, {"cached": 60}),
        (PROBE, {"value": object()}),
    ],
)
def test_other_tasks_are_not_queued(task: Any, options: dict[str, Any]) -> None:
    with pytest.raises(PackageRefused):
        async_task(task, **options)
    assert not OrmQ.objects.exists()


def test_forged_rows_are_put_aside_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trace = tmp_path / "trace"
    forged = {
        "a bare pickle": base64.urlsafe_b64encode(pickled(trace)).decode(),
        "signed with another key": signed(TASK, key="x" * 50),
        "a pickle signed with another key": signing.dumps(
            Trap(trace), key="x" * 50, salt=Conf.PREFIX, serializer=PickleSerializer
        ),
        "signed for another purpose": signed(TASK, salt="django.contrib.messages"),
        "not signed": json.dumps(TASK),
        "cut off": signed(TASK)[:-1],
        "another function": signed(TASK | {"func": "os.system", "args": ["true"]}),
        "a hook": signed(TASK | {"hook": "os.system"}),
        "run it at once": signed(TASK | {"sync": True}),
        "": "",
    }
    rows = {name: queue(payload) for name, payload in forged.items()}
    async_task(PROBE, "after", 1)
    came = [task for _ in range(len(forged) + 1) for task in taken()]
    assert [task["args"] for task in came] == [("after", 1)]
    assert not trace.exists()
    aside = OrmQ.objects.filter(key=broker.REFUSED)
    assert set(aside.values_list("pk", flat=True)) == {row.pk for row in rows.values()}
    assert broker.recently_refused().count() == len(forged)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == len(forged)
    assert any("names a function that is not in the task table: os.system" in text for text in errors)


@pytest.mark.parametrize("time", ["-infinity", "0044-03-15 BC"])
def test_row_with_a_time_that_python_cannot_hold_stops_no_other(time: str) -> None:
    row = queue("x")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_q_ormq SET lock = %s::timestamptz WHERE id = %s", [time, row.pk])
    async_task(PROBE)
    assert not get_broker().dequeue()
    assert [task["func"] for task in taken()] == [PROBE]
    assert OrmQ.objects.get(pk=row.pk).key == broker.REFUSED


def test_package_of_an_earlier_version_is_dropped_unread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Even the right signature makes no pickle welcome: such rows are what versions before this one queued."""
    trace = tmp_path / "trace"
    queue(signing.dumps(Trap(trace), key=settings.SECRET_KEY, salt=Conf.PREFIX, serializer=PickleSerializer))
    assert taken() == []
    assert not trace.exists()
    assert not OrmQ.objects.exists()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_few_refused_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "REFUSED_KEPT", 2)
    rows = [queue("forged") for _ in range(4)]
    for _ in rows:
        taken()
    assert sorted(OrmQ.objects.values_list("pk", flat=True)) == [row.pk for row in rows[2:]]


def test_broker_keeps_nothing_in_the_cache() -> None:
    ours = get_broker()
    ours.set_stat("key", "value", 3)
    assert ours.cache is None
    assert ours.get_stats("*") is None


def test_values_of_tasks_are_json_and_pickles_in_them_are_not_read(tmp_path: Path) -> None:
    now, trace = timezone.now(), tmp_path / "trace"
    made = Task.objects.create(
        id="a" * 32, name="n", func="f", started=now, stopped=now, args=(1, "x"), kwargs={}, result="done\0"
    )
    stored = Task.objects.extra(select={"text": "result"}).values_list("text", flat=True)
    assert list(stored) == ['"done\\u0000"']
    forged = base64.b64encode(pickled(trace)).decode()
    read = Task.objects.get(pk=made.pk)
    assert (read.args, read.kwargs, read.result) == ([1, "x"], {}, "done\0")
    with_sql(forged)
    read = Task.objects.get(pk=made.pk)
    assert {read.args, read.kwargs, read.result} == {"Not shown: this console did not store it."}
    assert list(Task.get_result_group(None)) == [read.result]
    assert Task.get_result("a" * 32) == read.result
    assert not trace.exists()


def with_sql(value: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_q_task SET args = %s, kwargs = %s, result = %s", [value] * 3)


def test_hook_of_a_task_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(packages, "pack", called.append)
    now = timezone.now()
    task = Task(id="a" * 32, name="n", func="f", started=now, stopped=now)
    task.hook = "opsconsole.cluster.packages.pack"
    task.save()
    assert called == []


@pytest.mark.parametrize("command", ["qinfo", "qmonitor", "qmemory"])
def test_commands_about_clusters_do_not_say_that_there_is_none(command: str) -> None:
    with pytest.raises(CommandError, match="judge_monitors"):
        call_command(command)
