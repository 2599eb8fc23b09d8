"""Tests of a bulk operation whose cluster is killed: the next cluster finishes it, each job exactly once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.chaos.stage import Stage
from tests.waiting import wait_until

JOBS = 200
FAILED = """
INSERT INTO jobs (customer_id, package_size, status)
SELECT 'CUST-BULK', 50, 'failed' FROM generate_series(1, %(jobs)s)
"""


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, OPSCONSOLE_BULK_PACE=30, OPSCONSOLE_BULK_TRIAL_SIZE=0)


def kill_all(pid: int) -> None:
    """Kill the supervisor first, so that it restarts nothing."""
    everyone = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in everyone:
        os.kill(process.pid, signal.SIGKILL)


def test_next_cluster_finishes_operation_of_killed_cluster(stage: Stage) -> None:
    with stage:
        stage.run("sync_schedules")
        stage.change(FAILED, jobs=JOBS)
        doomed = stage.spawn("run_cluster")
        said = stage.run(
            "bulk_operation", "requeue", "--status", "failed", "--reason", "mended", "--as", "ada"
        )
        assert "has begun" in said

        def done() -> int:
            return int(stage.rows("SELECT done FROM bulk_operations")[0].done)

        wait_until(lambda: done() >= 60, timeout=25)
        kill_all(doomed.pid)
        assert done() < JOBS
        stage.spawn("run_cluster")
        wait_until(lambda: done() == JOBS, timeout=80)
        [operation] = stage.rows("SELECT state, skipped, failed FROM bulk_operations")
        assert (operation.state, operation.skipped, operation.failed) == ("ended", 0, 0)
        [counted] = stage.rows(
            "SELECT count(*) AS events, count(DISTINCT job_id) AS jobs FROM job_events WHERE kind = 'requeued'"
        )
        assert (counted.events, counted.jobs) == (JOBS, JOBS)


CHOSEN = 60_000
PREPARE = """
from jobs.bulk import background_freezing
from jobs.bulk.registry import kind_of
from jobs.models import Job
from jobs.runs.timeline import Actor
background_freezing.prepare(
    kind_of("requeue"), Job.objects.filter(status="failed"), Actor.operator("ada", None), scope="all"
)
"""


def test_next_cluster_freezes_what_the_killed_cluster_left(stage: Stage) -> None:
    with stage:
        stage.run("sync_schedules")
        stage.change(FAILED, jobs=CHOSEN)
        stage.run("shell", "--command", PREPARE)
        doomed = stage.spawn("run_cluster")

        def frozen() -> int:
            return int(stage.rows("SELECT total FROM bulk_operations")[0].total)

        wait_until(lambda: frozen() > 0, timeout=60)
        kill_all(doomed.pid)
        [left] = stage.rows("SELECT state, total FROM bulk_operations")
        assert left.state == "freezing" and left.total < CHOSEN
        stage.change("UPDATE bulk_operations SET leased_until = now()")
        stage.spawn("run_cluster")
        wait_until(lambda: stage.rows("SELECT state FROM bulk_operations")[0].state == "preview", timeout=110)
        [operation] = stage.rows("SELECT total, will FROM bulk_operations")
        [counted] = stage.rows(
            "SELECT count(*) AS members, count(DISTINCT subject) AS subjects FROM bulk_members"
        )
        assert (operation.total, operation.will, counted.members, counted.subjects) == (CHOSEN,) * 4
