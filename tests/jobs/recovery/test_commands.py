"""Tests of the recovery commands: their output and exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from django.core.management import CommandError, call_command
from django.db import InternalError
from django_q.models import Schedule

from jobs.models import Job, JobEvent, Status, Sweep
from jobs.recovery import control, surroundings, sweeps
from jobs.runs.timeline import Actor
from opsconsole.cluster import schedules
from opsconsole.kit import answer_limit, audit, pauses
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.sqs import clients
from tests.factories import SECOND, job, run

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def armed(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", None)}
    control.arm(Actor("test"), "tests", cutoff=None)


def called(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_sweep_by_hand_says_that_it_waits_for_sqs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS accepts connections, and answers nothing."""
    monkeypatch.setattr(answer_limit, "TELL_AFTER_SECONDS", 0.5)
    monkeypatch.setattr(clients, "CONFIG", clients.CONFIG.merge(Config(read_timeout=2)))
    err = StringIO()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.AWS_ENDPOINT_URL = url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        settings.QUEUES = {"default": QueueConfig("default", f"{url}/000000000000/q", None)}
        call_command("recover_stale_jobs", stdout=StringIO(), stderr=err)
    assert "SQS has not answered for 0 s. It is waited for up to 60 s." in err.getvalue()


def test_find_stale_jobs_as_table_and_json() -> None:
    dead = run(age=2 * HOUR, silent=HOUR, customer_id="ACME")
    run(age=SECOND, worker="worker-2")
    table = called("find_stale_jobs")
    assert str(dead.pk) in table and "ACME" in table and "dead worker" in table and "1 stale run." in table
    [line] = called("find_stale_jobs", "--json").splitlines()
    assert json.loads(line)["id"] == str(dead.pk) and json.loads(line)["reason"] == "dead_worker"


def test_find_stale_jobs_prints_the_outlook_of_each_run() -> None:
    run(age=2 * HOUR, silent=HOUR)
    run(age=3 * HOUR, silent=HOUR, worker="worker-2", queue="gone")
    table = called("find_stale_jobs")
    assert "nothing" in table.splitlines()[0] and "requeue" in table.splitlines()[1]
    assert "The next sweep recovers what may be recovered." in table
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")
    assert "next sweep" not in called("find_stale_jobs")
    lines = [json.loads(line)["outlook"] for line in called("find_stale_jobs", "--json").splitlines()]
    assert [(line["action"], line["when"], line["reason"], line["at"]) for line in lines] == [
        ("nothing", "not_by_itself", "unknown_queue", None),
        ("requeue", "after_pause", "paused", None),
    ]


def test_dry_run_names_what_stops_sweeps() -> None:
    """Compare the dry run with what the command does without --dry-run."""
    dead = run(age=2 * HOUR, silent=HOUR)
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")
    said = called("recover_stale_jobs", "--dry-run")
    assert said.startswith(
        "Recovery is paused until somebody resumes it. Sweeps recover nothing before that. After that:\nrequeue "
    )
    assert said.count("Recovery is paused") == 1
    pauses.end(pauses.RECOVERY, by="ada", reason="done")
    control.disarm(Actor("test"), "looking first")
    said = called("recover_stale_jobs", "--dry-run")
    assert said.startswith(
        "Recovery only observes: sweeps change nothing until somebody arms it. If recovery were armed"
    )
    assert f"requeue    {dead.pk}" in said
    assert "requeued 0" in called("recover_stale_jobs")


@pytest.mark.parametrize("mode", ["armed", "observing"])
def test_dry_run_shows_what_the_command_does_whatever_the_schedule_does(mode: str) -> None:
    dead = run(age=2 * HOUR, silent=HOUR)
    sweeps.sweep(surroundings.BY_SCHEDULE)  # Staleness counts from a first sweep only where one was missing.
    Job.objects.filter(pk=dead.pk).delete()
    dead = run(age=2 * HOUR, silent=HOUR)
    schedules.sync()
    Schedule.objects.filter(func=surroundings.SWEEP_TASK).update(repeats=schedules.PAUSED)
    if mode == "observing":
        control.disarm(Actor("test"), "looking first")
    told = json.loads(called("recover_stale_jobs", "--dry-run", "--json"))
    assert (told["when"], [each["action"] for each in told["runs"]]) == ("not_by_itself", ["requeue"])
    said = called("recover_stale_jobs", "--dry-run")
    assert f"requeue    {dead.pk}" in said and "Sweeps run every" not in said
    assert "1 stale run: 1 to requeue, 0 to quarantine, 0 to skip" in said
    assert "The schedule of sweeps is paused, so none runs automatically." in said
    if mode == "armed":
        assert said.startswith("The schedule of sweeps is paused: nothing is recovered automatically")
        assert "requeued 1" in called("recover_stale_jobs")


def test_find_stale_jobs_says_when_there_are_more() -> None:
    for number in range(3):
        run(age=HOUR, worker=f"worker-{number}")
    assert "The first 2 stale runs; there are more." in called("find_stale_jobs", "--limit", "2")


def test_recover_stale_jobs_once_and_dry() -> None:
    dead = run(age=HOUR)
    assert "requeue" in called("recover_stale_jobs", "--dry-run")
    assert not Sweep.objects.exists()
    assert "found 1, requeued 1" in called("recover_stale_jobs")
    assert Job.objects.get(pk=dead.pk).status == Status.PENDING


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "1e9"])
def test_recover_stale_jobs_refuses_a_senseless_interval(interval: str) -> None:
    with pytest.raises(CommandError, match="--interval must be more than 0"):
        called("recover_stale_jobs", "--loop", f"--interval={interval}")


@pytest.mark.parametrize("others", [(), ("--loop", "--dry-run")])
def test_recover_stale_jobs_ignores_no_interval_silently(others: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"--interval (has|have) no effect with"):
        called("recover_stale_jobs", "--interval=30", *others)
    assert not Sweep.objects.exists()


def test_requeue_job_reports_result_and_records_user() -> None:
    failed = job(status=Status.FAILED)
    assert "done" in called("requeue_job", str(failed.pk), "--reason", "fixed upstream", "--as", "ada")
    event = JobEvent.objects.get(job=failed)
    assert (event.actor, event.reason) == ("operator:ada", "fixed upstream")


def test_requeue_job_changes_nothing_without_its_line_of_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = job(status=Status.FAILED)
    monkeypatch.setattr(audit, "log_command", refuse_to_write)
    with pytest.raises(CommandError, match="1 of 1 skipped"):
        called("requeue_job", str(failed.pk), "--reason", "fixed upstream")
    assert Job.objects.get(pk=failed.pk).status == Status.FAILED
    assert not JobEvent.objects.filter(job=failed).exists()


def refuse_to_write(*_: Any, **__: Any) -> None:
    raise InternalError("the audit can't be written")


def test_requeue_job_fails_when_anything_was_skipped() -> None:
    done, unknown = job(status=Status.COMPLETED), "00000000-0000-0000-0000-000000000001"
    with pytest.raises(CommandError, match="2 of 2 skipped"):
        called("requeue_job", str(done.pk), unknown, "--reason", "why not")


def test_requeue_job_refuses_invalid_id() -> None:
    with pytest.raises(CommandError, match="'abc' is not a job id"):
        called("requeue_job", "abc", "--reason", "why not")


def test_requeue_job_dry_run_changes_nothing() -> None:
    failed = job(status=Status.FAILED)
    said = called("requeue_job", str(failed.pk), "--reason", "x", "--dry-run")
    assert said.startswith(f"would    {failed.pk}  Will wait for run 2") and "Nothing was changed." in said
    assert "done" not in said
    assert Job.objects.get(pk=failed.pk).status == Status.FAILED


def test_requeue_job_releases() -> None:
    made = job(status=Status.QUARANTINED, recovery_count=3)
    with pytest.raises(CommandError, match="1 of 1 skipped"):
        called("requeue_job", str(made.pk), "--reason", "x")
    called("requeue_job", str(made.pk), "--reason", "x", "--release")
    assert Job.objects.get(pk=made.pk).status == Status.PENDING


@pytest.mark.parametrize(
    "command", ["find_stale_jobs", "recover_stale_jobs", "sync_schedules", "inspect_database"]
)
def test_database_outage_is_reported_in_a_sentence(command: str) -> None:
    away = {"DATABASE_URL": "postgres://u@127.0.0.1:9/away", "OPSCONSOLE_ENV": "development"}
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=Path(__file__).resolve().parents[3],
        env=os.environ | away,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("The database does not answer: connection failed")
    assert "Traceback" not in done.stderr


def test_limit_of_zero_is_refused() -> None:
    with pytest.raises(CommandError, match="argument --limit: give a whole number from 1 to"):
        call_command("find_stale_jobs", "--limit=0")


def test_recovery_mode_names_the_queues_that_sweeps_leave_to_operators(settings: Any) -> None:
    told = "Sweeps leave stale runs of the queue default to operators"
    assert told not in called("recovery_mode", "show")
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)
    assert told in called("recovery_mode", "show")
