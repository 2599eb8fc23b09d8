"""Tests of kills and outages: every job ends exactly once, with a complete timeline (I1 to I5)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos.stage import Stage
from tests.waiting import wait_until

Process = subprocess.Popen[bytes]

JOBS = 30
WORKERS = 4
AT_ONCE = 3


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(
        tmp_path,
        OPSCONSOLE_STALE_AFTER_SECONDS=4,
        OPSCONSOLE_BEAT_INTERVAL_SECONDS=1,
        OPSCONSOLE_MAX_RECOVERIES=100,
        OPSCONSOLE_MASS_STALE_RUNS=1_000,
        OPSCONSOLE_LOST_AFTER_SECONDS=8,
        OPSCONSOLE_LOST_RESEND="on",
        OPSCONSOLE_RETRY_BACKOFF_SECONDS=1,
        OPSCONSOLE_CLUSTER_STALL_SECONDS=4,
    ) as made:
        yield made


def spawn_worker(stage: Stage, handler: str = "work") -> Process:
    return stage.spawn("run_worker", "--handler", f"tests.chaos.handlers.{handler}")


def unfinished(stage: Stage) -> int:
    return int(stage.rows("SELECT count(*) AS n FROM jobs WHERE status <> 'completed'")[0].n)


def events(stage: Stage, kind: str) -> list[Any]:
    return stage.rows("SELECT * FROM job_events WHERE kind = %(kind)s ORDER BY id", kind=kind)


class Cluster:
    """The console's own cluster during the chaos: its observable progress, and the faults injected into it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.process = stage.spawn("run_cluster")

    def probe(self) -> int:
        found = self.stage.rows("SELECT max(probe) AS n FROM cluster_progress")
        return int(found[0].n or 0)

    def wait_for_progress(self) -> None:
        """Wait until the cluster has run a task sent from now on."""
        seen = self.probe()
        # A task that was sent earlier may still finish.
        wait_until(lambda: self.probe() > seen + 1, timeout=60, what="progress of the cluster")

    def kill_the_idle_workers(self) -> None:
        """Kill all idle workers: others take their place."""
        wait_until(self.idle_workers, timeout=60, what="workers of the cluster")
        for pid in self.idle_workers():
            os.kill(pid, signal.SIGKILL)

    def idle_workers(self) -> list[int]:
        ready = re.findall(r"ready for work at (\d+)", self.stage.said(self.process))
        return [int(pid) for pid in ready if psutil.pid_exists(int(pid))]

    def kill_the_sentinel(self) -> None:
        leader = next(
            child
            for child in psutil.Process(self.process.pid).children()
            if "qcluster" in " ".join(child.cmdline())
        )
        leader.kill()

    def sweep(self) -> None:
        """Let the cluster run a sweep."""
        queue = "from django_q.tasks import async_task; async_task('jobs.tasks.sweep')"
        self.stage.run("shell", "--no-imports", "-c", queue)
        swept = "SELECT FROM sweeps WHERE trigger = 'schedule' AND finished_at IS NOT NULL"
        wait_until(lambda: self.stage.rows(swept), timeout=60, what="a sweep of the cluster")


def test_every_job_ends_exactly_once_under_chaos(stage: Stage) -> None:
    """Kill workers, idle worker and sentinel; restart PostgreSQL; stop SQS; delay one worker."""
    cluster = Cluster(stage)
    sleeper = spawn_worker(stage, "deaf")
    for _ in range(WORKERS):
        spawn_worker(stage)
    # The cluster runs one more dispatcher.
    for _ in range(AT_ONCE - 1):
        stage.spawn("dispatch_outbox", "--loop", "--interval=0.2")
    stage.run("enqueue_jobs", "--customer=CHAOS", "--package-size=4", f"--count={JOBS}")
    late_run = stage.run_of_frozen(sleeper)
    for _ in range(AT_ONCE):
        stage.spawn("recover_stale_jobs", "--loop", "--interval=0.5")

    killed = []
    for turn in range(5):
        killed.append(stage.kill_a_busy_worker())
        spawn_worker(stage)
        if turn == 1:
            stage.restart_postgres()
        if turn == 2:
            stage.refuse_sqs(times=4)
        if turn == 3:
            cluster.kill_the_idle_workers()
    wait_until(lambda: events_of(stage, late_run.job_id, "recovered"), timeout=60)
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_until(lambda: events(stage, "late_result_rejected"), timeout=60)
    wait_until(lambda: unfinished(stage) == 0, timeout=90)
    cluster.wait_for_progress()
    cluster.kill_the_sentinel()
    cluster.sweep()

    check_that_each_ended_once(stage)
    check_that_killed_runs_were_recovered(stage, killed)
    check_what_is_told_of_the_late_one(stage, late_run)
    # The cluster starts again after the death of its sentinel; that of idle workers it survives.
    assert re.findall(r"cluster: process \d+ .*; it starts again", stage.said(cluster.process))
    assert cluster.process.poll() is None


def check_what_is_told_of_the_late_one(stage: Stage, run: Any) -> None:
    """Check the late worker's timeline: claimed, recovered, completed by another worker, late report refused."""
    story = [
        (event.kind, event.run_epoch)
        for event in stage.rows(
            "SELECT kind, run_epoch FROM job_events WHERE job_id = %(job_id)s AND kind <> 'progress' ORDER BY id",
            job_id=run.job_id,
        )
    ]
    assert story[:3] == [("enqueued", 1), ("claimed", run.epoch), ("recovered", run.epoch)]
    assert ("late_result_rejected", run.epoch) in story
    [(_, ended)] = [entry for entry in story if entry[0] == "completed"]
    assert ended > run.epoch


def check_that_each_ended_once(stage: Stage) -> None:
    completed = Counter(event.job_id for event in events(stage, "completed"))
    assert len(completed) == JOBS and set(completed.values()) == {1}
    claims = Counter((event.job_id, event.run_epoch) for event in events(stage, "claimed"))
    assert set(claims.values()) == {1}, "one winner a run"
    restarts = Counter(event.job_id for event in events(stage, "recovered"))
    for job in stage.rows("SELECT id, run_epoch, recovery_count, status FROM jobs"):
        assert job.run_epoch == 1 + restarts[job.id] == 1 + job.recovery_count
    told = stage.rows("SELECT reason FROM job_events WHERE kind = 'recovered'")
    assert all("Last sign of life" in event.reason for event in told)


def check_that_killed_runs_were_recovered(stage: Stage, killed: list[Any]) -> None:
    """Check that every run whose worker was killed was recovered, unless it had just ended by itself."""
    killed_runs = {(run.job_id, run.epoch) for run in killed}
    completed = {(event.job_id, event.run_epoch) for event in events(stage, "completed")}
    recovered = {(event.job_id, event.run_epoch) for event in events(stage, "recovered")}
    left = killed_runs - completed
    assert len(left) >= len(killed) // 2, "most of the kills hit a run"
    assert left <= recovered


def events_of(stage: Stage, job_id: Any, kind: str) -> list[Any]:
    return [event for event in events(stage, kind) if event.job_id == job_id]


def test_worker_that_resumes_after_its_job_was_recovered(stage: Stage) -> None:
    frozen = spawn_worker(stage, "deaf")
    stage.spawn("dispatch_outbox", "--loop", "--interval=0.2")
    stage.run("enqueue_jobs", "--customer=SLEEPER", "--package-size=10")
    run = stage.run_of_frozen(frozen)
    stage.spawn("recover_stale_jobs", "--loop", "--interval=0.5")
    wait_until(lambda: events(stage, "recovered"), timeout=30)
    spawn_worker(stage)
    wait_until(lambda: len(events(stage, "claimed")) == 2, timeout=30)
    os.kill(frozen.pid, signal.SIGCONT)
    wait_until(lambda: events(stage, "late_result_rejected"), timeout=30)
    wait_until(lambda: unfinished(stage) == 0, timeout=30)

    [late] = events(stage, "late_result_rejected")
    [completed] = events(stage, "completed")
    assert (late.job_id, late.run_epoch) == (run.job_id, run.epoch)
    assert (completed.job_id, completed.run_epoch) == (run.job_id, run.epoch + 1)
    assert late.actor != completed.actor
