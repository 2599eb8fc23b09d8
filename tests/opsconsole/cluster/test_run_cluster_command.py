"""Tests of ``run_cluster`` with real clusters: tasks run again after a kill, and no process remains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.db import connection
from django_q.models import OrmQ, Success
from django_q.tasks import async_task

from opsconsole.kit.models import ClusterProgress
from tests.conftest import TestQueue
from tests.processes import Mark, marked
from tests.programs import program
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]
STALL_SECONDS = 4
SECONDS = 40.0


class Cluster:
    """A ``run_cluster`` command in another process, and what a test can observe of it."""

    def __init__(self, mark: Mark, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.mark = mark
        self.log = log
        self.process = process

    @property
    def said(self) -> str:
        return self.log.read_text()

    def leader(self) -> psutil.Process:
        """Return the stock qcluster: the topmost process of that command."""
        clusters = [each for each in self.mark.processes() if "qcluster" in each.cmdline()]
        pids = {each.pid for each in clusters}
        return next(each for each in clusters if each.ppid() not in pids)

    def sentinel(self) -> psutil.Process:
        return self.leader().children()[0]

    def workers(self) -> list[int]:
        """Return the two workers that the current cluster started with."""
        ready = [int(pid) for pid in re.findall(r"ready for work at (\d+)", self.said)]
        return [pid for pid in ready if psutil.pid_exists(pid)]

    def wait_for_work(self) -> None:
        """Wait until a task sent now has run."""
        ClusterProgress.objects.update_or_create(pk="test", defaults={"hostname": "test", "probe": 0})
        async_task("opsconsole.cluster.tasks.tick", "test", 1)
        wait_until(ClusterProgress.objects.filter(pk="test", probe=1).exists, SECONDS)

    def wait_for_probes(self) -> None:
        """Wait until a second probe has run, which is sent after the first was acknowledged."""
        wait_until(ClusterProgress.objects.exclude(pk="test").filter(probe__gte=2).exists, SECONDS)


@pytest.fixture
def cluster(sqs_queue: TestQueue, tmp_path: Path) -> Iterator[Cluster]:
    with marked() as mark:
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
        ours = {
            "DATABASE_URL": url.geturl(),
            "SQS_QUEUE_URL": sqs_queue.url,
            "OPSCONSOLE_CLUSTER_STALL_SECONDS": str(STALL_SECONDS),
        }
        log = tmp_path / "run_cluster.log"
        command = [sys.executable, "manage.py", "run_cluster"]
        with (
            log.open("wb") as output,
            program(
                command, cwd=ROOT, env=mark.environ | ours, stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            yield Cluster(mark, log, process)
        wait_until(lambda: not mark.pids(), 10)


def kill_the_idle_workers(cluster: Cluster) -> None:
    # One of them holds the lock of the task queue when it dies.
    for pid in cluster.workers():
        os.kill(pid, signal.SIGKILL)


def kill_the_sentinel(cluster: Cluster) -> None:
    cluster.sentinel().kill()


def kill_the_leader(cluster: Cluster) -> None:
    cluster.leader().kill()


@pytest.mark.parametrize(
    ("kill", "said"),
    [
        (
            kill_the_idle_workers,
            r"was killed by the supervisor: no task came through it for [4-9] s; it starts again in 1 s",
        ),
        (kill_the_sentinel, r"ended with code \d; it starts again in 1 s"),
        (kill_the_leader, r"was killed by SIGKILL; it starts again in 1 s"),
    ],
    ids=["idle workers", "sentinel", "leader"],
)
def test_tasks_run_again_after_any_process_is_killed(
    cluster: Cluster, kill: Callable[[Cluster], None], said: str
) -> None:
    cluster.wait_for_probes()
    before = {process.pid for process in [cluster.leader(), *cluster.leader().children(recursive=True)]}
    kill(cluster)
    wait_until(lambda: re.search(rf"cluster: process \d+ {said}", cluster.said), SECONDS)
    wait_until(lambda: not before & cluster.mark.pids(), 10, what="the end of the old cluster")
    cluster.wait_for_work()
    assert cluster.process.poll() is None
    reasons = ClusterProgress.objects.exclude(pk="test").values_list("restarts", "restart_reason")
    assert all(bool(restarts) == bool(reason) == ("no task" in said) for restarts, reason in reasons)


def test_sigterm_finishes_task_and_leaves_no_process(cluster: Cluster, tmp_path: Path) -> None:
    async_task("tests.opsconsole.cluster.gate.wait_for_gate", str(tmp_path))
    wait_until((tmp_path / "began").exists, SECONDS)
    cluster.process.terminate()
    wait_until(lambda: "stopping cluster processes" in cluster.said, SECONDS)
    assert cluster.process.poll() is None
    (tmp_path / "gate").touch()
    assert cluster.process.wait(SECONDS) == 0
    assert (tmp_path / "ended").exists()
    assert Success.objects.filter(func="tests.opsconsole.cluster.gate.wait_for_gate").exists()
    assert not cluster.mark.pids()
    assert not OrmQ.objects.exists()
    assert not ClusterProgress.objects.exists()


def test_second_signal_kills_at_once(cluster: Cluster, tmp_path: Path) -> None:
    async_task("tests.opsconsole.cluster.gate.wait_for_gate", str(tmp_path))
    wait_until((tmp_path / "began").exists, SECONDS)
    cluster.process.terminate()
    wait_until(lambda: "stopping cluster processes" in cluster.said, SECONDS)
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.process.wait(SECONDS) == 0
    assert not (tmp_path / "ended").exists()
    assert not cluster.mark.pids()


def test_kill_9_leaves_no_process(cluster: Cluster) -> None:
    cluster.wait_for_probes()
    assert len(cluster.mark.pids()) >= 9
    cluster.process.kill()
    cluster.process.wait()
    wait_until(lambda: not cluster.mark.pids(), 10)
