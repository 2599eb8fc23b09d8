"""Tests of the sentinel with real workers: how many there are, what it stores, and what it kills."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import Failure, OrmQ, Success
from django_q.tasks import async_task

from opsconsole.cluster import scheduler, sentinel, task_table, workers
from opsconsole.cluster.sentinel import Sentinel
from opsconsole.kit.supervision import starting
from opsconsole.kit.supervision.supervisor import StopRequests
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

GATE = "tests.opsconsole.cluster.gate.wait_for_gate"
LONG = "tests.opsconsole.cluster.gate.tell_limit"
SESSION = "tests.opsconsole.cluster.gate.tell_session"
STUBBORN = "tests.opsconsole.cluster.gate.ignore_the_limit"


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sentinel]:
    """Give a sentinel that this test lets take its turns; its schedules are not due."""
    monkeypatch.setattr(task_table, "UNSCHEDULED", task_table.UNSCHEDULED | {GATE, STUBBORN, LONG, SESSION})
    monkeypatch.setattr(scheduler, "run", lambda _: None)
    monkeypatch.setattr(Conf, "POLL", 0)
    with StopRequests() as stop:
        made = Sentinel(stop)
        yield made
        for worker in made._workers:
            worker.kill()


def until(ours: Sentinel, condition: Callable[[], Any]) -> None:
    def taken() -> Any:
        ours._take_turn()
        return condition()

    wait_until(taken, 60)


def gates(tmp_path: Path, count: int, task: str = GATE) -> list[Path]:
    folders = [Path(mkdtemp(dir=tmp_path)) for _ in range(count)]
    for folder in folders:
        async_task(task, str(folder))
    return folders


def began(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if (folder / "began").exists()]


def test_workers_are_started_when_needed_and_end_when_idle(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours._take_turn()
    assert ours._workers == []
    [first] = gates(tmp_path, 1)
    until(ours, lambda: began([first]))
    assert len(ours._workers) == 1
    (first / "gate").touch()
    until(ours, Success.objects.exists)
    [worker] = ours._workers
    others = gates(tmp_path, 3)
    until(ours, lambda: len(began(others)) == 1)
    ours._take_turn()
    # Most tasks are short.
    assert ours._workers == [worker]
    monkeypatch.setattr(sentinel, "LONG_SECONDS", 0)
    until(ours, lambda: len(began(others)) == Conf.WORKERS)
    # No third is started: the task waits where another cluster finds it.
    assert worker in ours._workers
    assert len(ours._workers) == Conf.WORKERS == 2
    assert OrmQ.objects.count() == 3
    assert not ours._has_room()
    for folder in others:
        (folder / "gate").touch()
    until(ours, lambda: Success.objects.count() == 4)
    assert not OrmQ.objects.exists()
    assert len(ours._workers) == 2
    monkeypatch.setattr(sentinel, "IDLE_SECONDS", 0)
    until(ours, lambda: not ours._workers)


def session() -> int:
    """Return the process of PostgreSQL that answers us."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_worker_has_its_own_session_and_leaves_the_one_of_the_sentinel(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = session()
    [folder] = gates(tmp_path, 1, SESSION)
    until(ours, lambda: began([folder]))
    assert int((folder / "session").read_text()) != before
    assert session() == before, "the start of a worker costs no connection"
    (folder / "gate").touch()
    until(ours, Success.objects.exists)
    monkeypatch.setattr(sentinel, "IDLE_SECONDS", 0)
    until(ours, lambda: not ours._workers)
    assert session() == before, "nor does its end"


def test_worker_holds_no_session_of_the_sentinel_open(ours: Sentinel, tmp_path: Path) -> None:
    """Otherwise PostgreSQL would not notice that a sentinel was killed whose worker runs on."""
    session()
    [folder] = gates(tmp_path, 1)
    until(ours, lambda: began([folder]))
    socket = Path(f"/proc/self/fd/{connection.connection.fileno()}").readlink()
    files = Path(f"/proc/{ours._workers[0].pid}/fd").iterdir()
    assert socket not in [file.readlink() for file in files]


def test_failure_is_stored_and_acknowledged(ours: Sentinel, caplog: pytest.LogCaptureFixture) -> None:
    async_task(GATE, "/no/such/folder")
    until(ours, Failure.objects.exists)
    until(ours, lambda: not OrmQ.objects.exists())
    assert "No such file or directory" in Failure.objects.get().result
    assert f"Failed '{GATE}'" in caplog.text


def test_task_that_ignores_its_limit_is_killed_and_kept(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Conf, "TIMEOUT", 1)
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 1)
    folders = gates(tmp_path, 1, STUBBORN)
    until(ours, lambda: began(folders))
    pid = int((folders[0] / "began").read_text())
    until(ours, lambda: not ours._workers)
    assert f"Worker {pid} is killed: its task '{STUBBORN}' ignores its time limit." in caplog.text
    assert f"Worker {pid} was killed by SIGKILL while it ran '{STUBBORN}'" in caplog.text
    # Another worker runs it, once its lease has ended.
    assert OrmQ.objects.count() == 1
    assert not Success.objects.exists()


def test_task_that_obeys_its_limit_is_a_failure(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conf, "TIMEOUT", 1)
    gates(tmp_path, 1)
    until(ours, Failure.objects.exists)
    assert "exceeded maximum timeout" in Failure.objects.get().result
    until(ours, lambda: not OrmQ.objects.exists() and not ours._workers)


@pytest.fixture
def long_task(monkeypatch: pytest.MonkeyPatch) -> task_table.ScheduledTask:
    """Put a task into the table that may take longer than others."""
    entry = task_table.ScheduledTask("long", LONG, 60, "take long", seconds=1_000)
    entries = (*task_table.every_entry(), entry)
    monkeypatch.setattr(task_table, "every_entry", lambda: entries)
    return entry


@pytest.mark.usefixtures("long_task")
def test_long_task_has_its_own_limit_and_worker(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Conf, "WORKERS", 1)
    [long] = gates(tmp_path, 1, LONG)
    until(ours, lambda: began([long]))
    assert float((long / "limit").read_text()) > Conf.TIMEOUT
    [worker] = ours._workers
    # No other cluster takes it meanwhile.
    assert OrmQ.objects.get().lock > timezone.now() + timedelta(seconds=500)
    worker.since -= Conf.TIMEOUT * 3
    # Its worker is not one of those that others wait for, and is not ended.
    [other] = gates(tmp_path, 1)
    until(ours, lambda: began([other]))
    assert worker in ours._workers and len(ours._workers) == 2
    for folder in (other, long):
        (folder / "gate").touch()
    until(ours, lambda: Success.objects.count() == 2)
    assert not OrmQ.objects.exists()


@pytest.mark.usefixtures("long_task")
def test_cluster_that_stops_does_not_wait_for_a_long_task(ours: Sentinel, tmp_path: Path) -> None:
    [long] = gates(tmp_path, 1, LONG)
    until(ours, lambda: began([long]))
    [worker] = ours._workers
    os.kill(os.getpid(), signal.SIGTERM)
    ours.run()
    assert worker.code == -signal.SIGKILL and not ours._workers
    assert OrmQ.objects.exists()


def test_dropping_a_month_may_take_hours() -> None:
    assert task_table.seconds_of("opsconsole.retention.tasks.drop_months") == 6 * 60 * 60
    assert task_table.seconds_of("jobs.tasks.sweep") is None


@pytest.mark.parametrize("limit", ["TIMEOUT", "RECYCLE"])
def test_worker_that_is_about_to_end_gets_no_other_task(
    ours: Sentinel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The next task would go to a process that does not read it, and wait for its retry."""
    monkeypatch.setattr(Conf, limit, 1)
    [first] = gates(tmp_path, 1)
    until(ours, lambda: began([first]))
    [worker] = ours._workers
    if limit == "RECYCLE":
        (first / "gate").touch()
    while not worker.result():
        worker.signs()[0].poll(1)
    assert worker.is_ending
    [second] = gates(tmp_path, 1)
    (second / "gate").touch()
    until(ours, lambda: began([second]))
    assert int((second / "began").read_text()) != worker.pid


def test_killed_idle_worker_blocks_nothing(ours: Sentinel, caplog: pytest.LogCaptureFixture) -> None:
    async_task(task_table.PROBE, "nobody", 1)
    until(ours, Success.objects.exists)
    [worker] = ours._workers
    os.kill(worker.pid, signal.SIGKILL)
    async_task(task_table.PROBE, "nobody", 2)
    # One that died before the task reached it has the task, which is run again after its lease.
    until(ours, lambda: not ours._workers or Success.objects.count() == 2)
    async_task(task_table.PROBE, "nobody", 3)
    until(ours, lambda: Success.objects.filter(pk__isnull=False).count() >= 2)
    assert "was killed by SIGKILL" in caplog.text


@pytest.mark.parametrize("sentinel_dies", [False, True])
def test_task_that_kills_its_worker_is_a_failure_after_some_tries(
    ours: Sentinel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sentinel_dies: bool,
) -> None:
    """It would be run again each 150 s for ever. A sentinel that is killed along stores nothing, but has counted its tries."""
    monkeypatch.setattr(Conf, "RETRY", 0)
    if sentinel_dies:
        monkeypatch.setattr(ours, "_forget", lambda worker, _: ours._workers.remove(worker))
    [folder] = gates(tmp_path, 1)
    killed: list[int] = []

    def killed_or_failed() -> Any:
        if (folder / "began").exists():
            killed.append(int((folder / "began").read_text()))
            (folder / "began").unlink()
            os.kill(killed[-1], signal.SIGKILL)
        return Failure.objects.exists()

    until(ours, killed_or_failed)

    assert len(set(killed)) == sentinel.MOST_TAKES == 3
    failure = Failure.objects.get()
    assert (failure.func, failure.attempt_count) == (GATE, 4 if sentinel_dies else 3)
    assert failure.result.startswith("It was begun 3 times and never ended")
    assert sentinel_dies or f"worker {killed[-1]} was killed by SIGKILL" in failure.result
    assert f"Failed '{GATE}'" in caplog.text
    assert not OrmQ.objects.exists()
    # Other tasks go on.
    async_task(task_table.PROBE, "nobody", 1)
    until(ours, Success.objects.exists)


def test_refused_fork_is_tried_again(
    ours: Sentinel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    files = len(starting.open_files())
    async_task(task_table.PROBE, "nobody", 1)
    with monkeypatch.context() as refused:
        refused.setattr(os, "fork", refuse)
        for _ in range(5):
            ours._ask_at = 0
            ours._take_turn()
    assert caplog.text.count("No worker can be started, trying again in 5 s:") == 5
    # The connections of the database were closed, too.
    assert len(starting.open_files()) <= files
    assert ours._ask_at > time.monotonic()
    ours._ask_at = 0
    # The tries count for nothing, and nobody waits for the end of a lease.
    until(ours, Success.objects.exists)
    assert Success.objects.get().attempt_count == 1


def test_outage_is_told_once_and_outlived(
    ours: Sentinel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused\nIs the server running?")

    monkeypatch.setattr(sentinel, "AWAY_SECONDS", 0)
    with monkeypatch.context() as away:
        away.setattr(ours._broker, "take", refuse)
        for _ in range(3):
            ours._take_turn()
    assert caplog.text.count("connection refused") == 1
    async_task(task_table.PROBE, "nobody", 1)
    until(ours, Success.objects.exists)


def test_result_that_cannot_be_stored_is_no_end_of_the_sentinel(
    ours: Sentinel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_pk: int) -> None:
        connection.close()
        raise OperationalError("gone")

    with monkeypatch.context() as away:
        away.setattr(ours._broker, "acknowledge", refuse)
        async_task(task_table.PROBE, "nobody", 1)
        until(ours, lambda: "gone" in caplog.text)
    assert OrmQ.objects.count() == 1
    async_task(task_table.PROBE, "nobody", 2)
    until(ours, lambda: Success.objects.count() == 2)
    assert OrmQ.objects.count() == 1
