"""Whatever dies, every job ends exactly once, none is lost, and the timeline tells what happened (I1 to I5)."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.stage import Stage
from tests.waiting import wait_until

JOBS = 40
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
    ) as made:
        yield made


def spawn_worker(stage: Stage, handler: str = "work") -> None:
    stage.spawn("run_worker", "--handler", f"tests.chaos.handlers.{handler}")


def unfinished(stage: Stage) -> int:
    return int(stage.rows("SELECT count(*) AS n FROM jobs WHERE status <> 'completed'")[0].n)


def events(stage: Stage, kind: str) -> list[Any]:
    return stage.rows("SELECT * FROM job_events WHERE kind = %(kind)s ORDER BY id", kind=kind)


def test_every_job_ends_exactly_once(stage: Stage) -> None:
    for _ in range(WORKERS):
        spawn_worker(stage)
    for _ in range(AT_ONCE):
        stage.spawn("recover_stale_jobs", "--loop", "--interval=0.5")
        stage.spawn("dispatch_outbox", "--loop", "--interval=0.2")
    stage.run("enqueue_jobs", "--customer=CHAOS", "--package-size=4", f"--count={JOBS}")

    for turn in range(6):
        stage.kill_a_busy_worker()
        spawn_worker(stage)
        if turn == 2:
            stage.restart_postgres()
        if turn == 4:
            stage.refuse_sqs(times=4)
    wait_until(lambda: unfinished(stage) == 0, timeout=90)

    check_that_each_ended_once(stage)
    assert len(events(stage, "recovered")) >= 6


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


def test_worker_that_wakes_up_after_its_job_was_given_away(stage: Stage) -> None:
    spawn_worker(stage, "deaf")
    stage.spawn("dispatch_outbox", "--loop", "--interval=0.2")
    stage.run("enqueue_jobs", "--customer=SLEEPER", "--package-size=10")
    frozen, run = stage.freeze_a_busy_worker()
    stage.spawn("recover_stale_jobs", "--loop", "--interval=0.5")
    wait_until(lambda: events(stage, "recovered"), timeout=30)
    spawn_worker(stage, "deaf")
    wait_until(lambda: len(events(stage, "claimed")) == 2, timeout=30)
    os.kill(frozen, signal.SIGCONT)
    wait_until(lambda: events(stage, "late_result_rejected"), timeout=30)
    wait_until(lambda: unfinished(stage) == 0, timeout=30)

    [late] = events(stage, "late_result_rejected")
    [completed] = events(stage, "completed")
    assert (late.job_id, late.run_epoch) == (run.job_id, run.epoch)
    assert (completed.job_id, completed.run_epoch) == (run.job_id, run.epoch + 1)
    assert late.actor != completed.actor
