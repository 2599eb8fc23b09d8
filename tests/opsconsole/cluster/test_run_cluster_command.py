"""Tests of ``run_cluster`` with real clusters: tasks run again after a kill, and no process remains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.db import connection
from django_q.models import OrmQ, Success
from django_q.tasks import async_task

from alerts.models import Monitor
from jobs.models import JobEvent, RecoveryControl, Sweep
from jobs.recovery import control
from jobs.runs.timeline import Actor
from opsconsole.cluster import packages, task_table
from opsconsole.kit.models import ClusterProgress
from tests import factories
from tests.conftest import TestQueue
from tests.processes import Mark, marked
from tests.programs import program
from tests.serving import answers, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]
GATE = "tests.opsconsole.cluster.gate.wait_for_gate"
STALL_SECONDS = 4
SECONDS = 40.0
BACK_SECONDS = 30.0


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
        """Return the qcluster: the topmost process of that command."""
        clusters = [each for each in self.mark.processes() if "qcluster" in " ".join(each.cmdline())]
        pids = {each.pid for each in clusters}
        return next(each for each in clusters if each.ppid() not in pids)

    def loops(self) -> psutil.Process:
        """Return the process of the dispatcher, the sender and the other loops."""
        wait_until(self._loops, BACK_SECONDS)
        [found] = self._loops()
        return found

    def _loops(self) -> list[psutil.Process]:
        return [each for each in self.mark.processes() if "opsconsole loops" in " ".join(each.cmdline())]

    def workers(self) -> list[int]:
        """Return the live workers, each of which said its pid when it started."""
        told = [int(pid) for pid in re.findall(r"ready for work at (\d+)", self.said)]
        return [pid for pid in told if psutil.pid_exists(pid)]

    def guards(self) -> list[psutil.Process]:
        """Return the processes that end all others when the supervisor is killed."""
        ours = (each for each in self.mark.processes() if each.ppid() == self.process.pid)
        return [each for each in ours if any("guard.py" in word for word in each.cmdline())]

    def wait_for_work(self, seconds: float = SECONDS) -> None:
        """Wait until a task sent now has run."""
        ClusterProgress.objects.update_or_create(pk="test", defaults={"hostname": "test", "probe": 0})
        async_task("opsconsole.cluster.tasks.tick", "test", 1)
        wait_until(ClusterProgress.objects.filter(pk="test", probe=1).exists, seconds)

    def wait_for_rest(self) -> None:
        """Wait until all that was due at the start has run: a worker at work is replaced without a restart."""
        self.wait_for_work()
        wait_until(lambda: not OrmQ.objects.exists(), SECONDS, what="the end of all tasks")

    def wait_for_probes(self) -> None:
        """Wait until a second probe has run, which is sent after the first was acknowledged."""
        wait_until(ClusterProgress.objects.exclude(pk="test").filter(probe__gte=2).exists, SECONDS)


@pytest.fixture(autouse=True)
def gate_may_be_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_table, "UNSCHEDULED", task_table.UNSCHEDULED | {GATE})


@pytest.fixture
def cluster(sqs_queue: TestQueue, tmp_path: Path) -> Iterator[Cluster]:
    """Run a cluster that counts as stalled after a few seconds."""
    with running(sqs_queue, tmp_path, OPSCONSOLE_CLUSTER_STALL_SECONDS=str(STALL_SECONDS)) as made:
        yield made


@pytest.fixture
def patient_cluster(sqs_queue: TestQueue, tmp_path: Path) -> Iterator[Cluster]:
    """Run a cluster with the settings of production, which counts as stalled only after three minutes."""
    with running(sqs_queue, tmp_path) as made:
        yield made


@contextmanager
def running(sqs_queue: TestQueue, tmp_path: Path, *words: str, **settings: str) -> Iterator[Cluster]:
    with marked() as mark:
        url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
        ours = {
            "DATABASE_URL": url.geturl(),
            "SQS_QUEUE_URL": sqs_queue.url,
            "DJANGO_SETTINGS_MODULE": "tests.opsconsole.cluster.gated_settings",
        } | settings
        log = tmp_path / "run_cluster.log"
        command = [sys.executable, "manage.py", "run_cluster", *words]
        with (
            log.open("wb") as output,
            program(
                command, cwd=ROOT, env=mark.environ | ours, stdout=output, stderr=subprocess.STDOUT
            ) as process,
        ):
            yield Cluster(mark, log, process)
        wait_until(lambda: not mark.pids(), 10)


def test_cluster_is_back_soon_after_it_is_killed(patient_cluster: Cluster) -> None:
    patient_cluster.wait_for_rest()
    leader = patient_cluster.leader()
    before = {process.pid for process in [leader, *leader.children(recursive=True)]}
    leader.kill()
    killed_at = time.monotonic()
    wait_until(
        lambda: re.search(
            r"cluster: process \d+ was killed by SIGKILL; it starts again in [12] s", patient_cluster.said
        ),
        BACK_SECONDS,
    )
    wait_until(lambda: not before & patient_cluster.mark.pids(), 10, what="the end of the old cluster")
    patient_cluster.wait_for_work(BACK_SECONDS - (time.monotonic() - killed_at))
    assert patient_cluster.process.poll() is None


def test_killed_idle_workers_are_replaced_without_a_restart(cluster: Cluster) -> None:
    """Each has a pipe of its own, so that nothing is locked. Probes keep a worker from ending."""
    cluster.wait_for_probes()
    leader = cluster.leader().pid
    for pid in cluster.workers():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: re.search(r"Worker \d+ was killed by SIGKILL", cluster.said), BACK_SECONDS)
    cluster.wait_for_work(BACK_SECONDS)
    assert cluster.leader().pid == leader


def test_killed_loops_are_back(patient_cluster: Cluster) -> None:
    patient_cluster.wait_for_rest()
    killed = patient_cluster.loops()
    killed.kill()
    wait_until(lambda: "loops: process" in patient_cluster.said, BACK_SECONDS)
    assert patient_cluster.loops().pid != killed.pid


def test_killed_guard_is_replaced(patient_cluster: Cluster) -> None:
    patient_cluster.wait_for_work()
    [before] = patient_cluster.guards()
    before.kill()
    wait_until(lambda: [each.pid for each in patient_cluster.guards() if each != before], BACK_SECONDS)
    patient_cluster.wait_for_work(BACK_SECONDS)
    patient_cluster.process.kill()
    patient_cluster.process.wait()
    wait_until(lambda: not patient_cluster.mark.pids(), 10)


def test_busy_worker_that_is_killed_is_replaced_without_a_restart(
    patient_cluster: Cluster, tmp_path: Path
) -> None:
    async_task(GATE, str(tmp_path))
    wait_until((tmp_path / "began").exists, SECONDS)
    leader = patient_cluster.leader().pid
    os.kill(int((tmp_path / "began").read_text()), signal.SIGKILL)
    wait_until(lambda: "was killed by SIGKILL while it ran" in patient_cluster.said, BACK_SECONDS)
    patient_cluster.wait_for_work()
    assert patient_cluster.leader().pid == leader


def test_stalled_cluster_is_restarted(cluster: Cluster) -> None:
    """Stop the workers without killing them: only the missing probes show that nothing works."""
    cluster.wait_for_probes()
    for pid in cluster.workers():
        os.kill(pid, signal.SIGSTOP)
    stalled = r"was killed by the supervisor: no task came through it for [4-9] s; it starts again in 1 s"
    wait_until(lambda: re.search(rf"cluster: process \d+ {stalled}", cluster.said), SECONDS)
    cluster.wait_for_work()
    [(restarts, reason)] = ClusterProgress.objects.exclude(pk="test").values_list(
        "restarts", "restart_reason"
    )
    assert restarts == 1
    assert reason.startswith("no task came through it")


def test_short_intervals_are_served_by_loops(sqs_queue: TestQueue, tmp_path: Path) -> None:
    """Kill the loops once: that of sweeps is back like the others, and a dead run is recovered. The host has metrics of its own."""
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    short = {"OPSCONSOLE_SWEEP_INTERVAL_SECONDS": "5", "OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS": "5"}
    port, token = free_port(), "t" * 32
    told = {
        "OPSCONSOLE_METRICS_LISTEN": str(port),
        "OPSCONSOLE_METRICS_TOKENS": token,
        "OPSCONSOLE_METRICS_DIR": str(tmp_path / "metrics"),
    }
    stale = {"OPSCONSOLE_STALE_AFTER_SECONDS": "20"}
    with running(sqs_queue, tmp_path, **short, **told, **stale, SQS_DLQ_URL=sqs_queue.dlq_url) as cluster:
        wait_until(lambda: Sweep.objects.finished().count() >= 2, SECONDS)
        cluster.loops().kill()
        swept = Sweep.objects.count()
        wait_until(lambda: Sweep.objects.finished().count() >= swept + 2, BACK_SECONDS)
        dead = factories.run(silent=timedelta(0))
        # The threshold, the interval, and what a busy machine needs.
        wait_until(lambda: JobEvent.objects.filter(job=dead, kind="recovered").exists(), 20 + 5 + 40)
        assert Monitor.objects.get(pk="sweep").interval == timedelta(seconds=5)
        wait_until(Monitor.objects.filter(name__startswith="dead letter check").exists, SECONDS)
        assert "opsconsole_sweep_duration_seconds_count" in metrics(port, token)
        assert answers(port)
        # The loops leave the port to the supervisor.
        assert "can't be served" not in cluster.said


def web_processes(host: Cluster, count: int) -> list[psutil.Process]:
    """Return the processes of gunicorn, once there are so many."""
    served = [each for each in host.mark.processes() if "gunicorn" in " ".join(each.cmdline())]
    return served if len(served) == count else []


def test_web_runs_beside_the_cluster_and_ends_with_it(sqs_queue: TestQueue, tmp_path: Path) -> None:
    port = free_port()
    options = f"--bind 127.0.0.1:{port} --workers 2"
    with running(sqs_queue, tmp_path, "--web", GUNICORN_CMD_ARGS=options) as host:
        wait_until(lambda: answers(port), SECONDS)
        host.wait_for_work()
        # One of the two workers may answer before the other was forked.
        served = wait_until(lambda: web_processes(host, 3), SECONDS)
        [master] = [each for each in served if each.ppid() == host.process.pid]
        cluster = host.leader().pid
        master.kill()
        wait_until(lambda: "web: process" in host.said, BACK_SECONDS)
        wait_until(lambda: not {each.pid for each in served} & host.mark.pids(), BACK_SECONDS)
        wait_until(lambda: answers(port), BACK_SECONDS)
        assert host.leader().pid == cluster
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/", timeout=30) as page:
            assert b"Log in" in page.read()
        host.process.terminate()
        assert host.process.wait(SECONDS) == 0
        assert not host.mark.pids()


def test_web_beside_the_cluster_is_killed_with_its_supervisor(sqs_queue: TestQueue, tmp_path: Path) -> None:
    port = free_port()
    with running(sqs_queue, tmp_path, "--web", GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}") as host:
        wait_until(lambda: answers(port), SECONDS)
        host.process.kill()
        host.process.wait()
        wait_until(lambda: not host.mark.pids(), 10)
        assert not answers(port)


def metrics(port: int, token: str) -> str:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        text: bytes = answer.read()
    return text.decode()


def test_sigterm_finishes_task_and_leaves_no_process(cluster: Cluster, tmp_path: Path) -> None:
    async_task(GATE, str(tmp_path))
    wait_until((tmp_path / "began").exists, SECONDS)
    cluster.process.terminate()
    wait_until(lambda: "Stopping the cluster" in cluster.said, SECONDS)
    assert cluster.process.poll() is None
    (tmp_path / "gate").touch()
    assert cluster.process.wait(SECONDS) == 0
    assert (tmp_path / "ended").exists()
    assert Success.objects.filter(func=GATE).exists()
    assert not cluster.mark.pids()
    # A schedule that came due meanwhile may be queued for the next cluster.
    assert GATE not in [packages.unpack(row.payload)["func"] for row in OrmQ.objects.all()]
    assert not ClusterProgress.objects.exists()


def test_second_signal_kills_at_once(cluster: Cluster, tmp_path: Path) -> None:
    async_task(GATE, str(tmp_path))
    wait_until((tmp_path / "began").exists, SECONDS)
    cluster.process.terminate()
    wait_until(lambda: "Stopping the cluster" in cluster.said, SECONDS)
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.process.wait(SECONDS) == 0
    assert not (tmp_path / "ended").exists()
    assert not cluster.mark.pids()


def test_kill_9_leaves_no_process(cluster: Cluster) -> None:
    cluster.wait_for_probes()
    # The supervisor, its guard, the cluster, a worker and the loops.
    assert len(cluster.mark.pids()) >= 5
    cluster.process.kill()
    cluster.process.wait()
    wait_until(lambda: not cluster.mark.pids(), 10)
