"""Test of the page of switches: each command on it runs, in its order, and does what the page says."""

from __future__ import annotations

import io
import re
import shlex
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command

from jobs.models import Job, RecoveryControl, Status
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole import switches
from opsconsole_worker.environment import QueueConfig
from ratelimits.engine import store
from ratelimits.models import LimiterControl
from ratelimits.policies import policy_cache
from tests import factories
from tests.repository import REPOSITORY

CLIENT = "address:203.0.113.9"
PAGE = (REPOSITORY / "docs" / "rolling-back.md").read_text()


def run(section: str) -> str:
    """Run the commands of a section of the page; return what they said."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^opsconsole (.*)$", text, re.MULTILINE)
    assert commands, section
    said = io.StringIO()
    for command in commands:
        call_command(*shlex.split(command), stdout=said)
    policy_cache.clear()
    return said.getvalue()


def refused() -> bool:
    """Ask until the policy refuses, or clearly does not."""
    return any(not store.check("strict", CLIENT).allowed for _ in range(30))


@pytest.mark.django_db
@pytest.mark.usefixtures("limiter")
def test_switches_do_what_the_page_says(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    policy_cache.clear()
    control.arm(Actor.operator("ada", None), "tested", None)
    stale = factories.run(age=timedelta(hours=1), silent=timedelta(hours=1))
    lines = LogEntry.objects.count()

    run("Off")
    assert RecoveryControl.load().mode == "observe"
    assert {switch.name for switch, _ in switches.in_force()} == {"recovery", "dead letter checks"}
    assert sweeps.sweep("test").requeued == 0
    assert Job.objects.get(pk=stale.pk).status == Status.IN_PROGRESS
    assert not refused()
    assert LogEntry.objects.count() == lines + 4

    said = run("What is off")
    assert "Recovery is paused" in said and "rollback" in said
    assert re.search(r"\boff\b", said)

    run("On again")
    assert switches.in_force() == []
    assert (RecoveryControl.load().mode, LimiterControl.load().mode) == ("armed", "enforce")
    assert refused()
    # Older than the cutoff: a person decides.
    assert sweeps.sweep("test").requeued == 0
    assert LogEntry.objects.count() == lines + 9
