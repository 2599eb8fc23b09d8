"""Tests that kill each duty at each of its steps: the next tick finishes it, with nothing lost and nothing twice (I2, I7, I9)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs.models import RecoveryControl
from jobs.recovery import control
from jobs.runs.timeline import Actor
from tests.chaos.crash_points import Crash, crash_points, forget_connection, raise_crash
from tests.chaos.crash_scenarios import SCENARIOS, World
from tests.conftest import SUMMARY, TestQueue
from tests.fakes.slack import FakeSlack, serve
from tests.repository import REPOSITORY

pytestmark = pytest.mark.django_db(transaction=True)

MOST_STEPS = 200
# All steps of a long duty take longer than one test may.
PARTS = 3


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    with serve() as server:
        settings.SLACK_WEBHOOK_URL = server.url
        settings.OPSCONSOLE_ALERT_CHANNELS = {}
        settings.OPSCONSOLE_ALERT_FALLBACK = ""
        yield server


@pytest.fixture
def world(
    sqs_queue: TestQueue,
    slack: FakeSlack,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> World:
    from jobs.dead_letters import scan

    # A long poll of an empty queue would wait once per crash point.
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    return World(sqs_queue, slack, tmp_path / "receipts")


def crash_at(name: str, subject: str, step: int, world: World) -> list[str]:
    """Act with a crash before this step; return the steps that were reached, or all of them without a crash."""
    with crash_points(step, raise_crash, world.receipts) as points, suppress(Crash):
        try:
            SCENARIOS[name].act(subject)
        except Exception:
            # A dead process cannot tidy up. What that raised hides the crash.
            if not points.dead:
                raise
    if points.dead:
        forget_connection()
    return points.steps


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
def test_crash_at_every_step(
    name: str, part: int, world: World, record_property: Callable[[str, object], None]
) -> None:
    scenario = SCENARIOS[name]
    for step in range(1 + part, MOST_STEPS, PARTS):
        world.empty_queues()
        subject = scenario.arrange(world)
        steps = crash_at(name, subject, step, world)
        crashed = len(steps) >= step
        scenario.go_on(world, subject)
        try:
            scenario.check(world, subject)
        except AssertionError as error:
            error.add_note(f"after a crash before step {step}: {steps[step - 1 : step] or 'none'}")
            raise
        if not crashed:
            break
    else:
        raise AssertionError(f"{name} has more than {MOST_STEPS} steps")
    if part == 0:
        record_property(SUMMARY, f"{name}: {len(steps)} crash points")
        # Completion and failure are one round trip, and so one point.
        assert steps, "the duty has a step at which it can crash"


@pytest.mark.parametrize("name", SCENARIOS)
def test_process_killed_in_the_middle(name: str, world: World) -> None:
    """Kill -9 a process of its own at the middle one of its steps."""
    scenario = SCENARIOS[name]
    trial = scenario.arrange(world)
    with crash_points(None, raise_crash, world.receipts) as points:
        scenario.act(trial)
    scenario.go_on(world, trial)

    subject = scenario.arrange(world)
    killed = act_in_process(name, subject, 1 + len(points.steps) // 2, world)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    scenario.go_on(world, subject)
    scenario.check(world, subject)


def act_in_process(name: str, subject: str, step: int, world: World) -> subprocess.CompletedProcess[str]:
    database = connection.settings_dict
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.crash_process", name, str(step), str(world.receipts), subject],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "DATABASE_URL": f"postgres://{database['USER']}@/{database['NAME']}?host={database['HOST']}",
            "SQS_QUEUE_URL": world.queue.url,
            "SQS_DLQ_URL": world.queue.dlq_url,
            "SLACK_WEBHOOK_URL": world.slack.url,
            "OPSCONSOLE_MASS_STALE_RUNS": "1000",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
