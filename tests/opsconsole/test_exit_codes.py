"""Exit codes of commands: what was found (1), wrong arguments (2), and what nobody could find out or do (3)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError

from opsconsole.kit.exit_codes import COULD_NOT, WRONG_ARGUMENTS
from tests.repository import REPOSITORY

AWAY = {
    "OPSCONSOLE_ENV": "development",
    "DATABASE_URL": "postgres://u@127.0.0.1:9/away",
    "CACHE_URL": "redis://127.0.0.1:9",
    "SQS_QUEUE_URL": "http://127.0.0.1:9/1/q",
    "SQS_DLQ_URL": "http://127.0.0.1:9/1/d",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
}


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=REPOSITORY,
        env=os.environ | AWAY | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["check_dlq"],
        ["judge_monitors"],
        ["verify_audit"],
        ["alerts", "list"],
        ["send_alerts"],
        ["dispatch_outbox"],
        ["redrive_dlq", "--reason", "x"],
        ["pause", "recovery", "--reason", "x"],
        ["migrate"],
    ],
    ids=" ".join,
)
def test_database_that_is_away_is_no_finding(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (COULD_NOT, ""), done.stderr
    assert done.stderr.startswith("The database does not answer: ") and done.stderr.count("\n") == 1


def test_settings_that_are_refused_are_no_finding() -> None:
    for refused in ({"OPSCONSOLE_ENV": "nonsense"}, {"OPSCONSOLE_ENV": "production", "SQS_DLQ_URL": ""}):
        done = run("judge_monitors", **refused)
        assert (done.returncode, done.stdout) == (COULD_NOT, ""), done.stderr
        assert "Traceback" not in done.stderr


def test_error_of_the_console_is_told_and_is_no_finding() -> None:
    """Whatever breaks, a script that reads the exit code must not take it for a monitor that is late."""
    code = (
        "from opsconsole import command_line\n"
        "def run(): raise RuntimeError('a defect')\n"
        "command_line._run = run\n"
        "command_line.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == COULD_NOT
    assert "Traceback" in done.stderr and done.stderr.endswith("RuntimeError: a defect\n")


def test_checks_of_settings_that_fail_are_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise SystemCheckError("the settings are wrong")

    monkeypatch.setattr("django.core.management.base.BaseCommand.check", refuse)
    with pytest.raises(SystemCheckError) as refused:
        call_command("judge_monitors", skip_checks=False)
    assert refused.value.returncode == COULD_NOT


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pause recovery --minutes 5 --resume --reason x", "--minutes has no effect with --resume"),
        ("pause --minutes 5", "Name what to pause"),
        ("pause nothing --reason x", "can't be paused"),
        ("pause recovery", "Give a --reason"),
        ("check_dlq --interval 5", "--interval has no effect without --loop"),
        ("dispatch_outbox --interval 5", "--interval has no effect without --loop"),
        ("recover_stale_jobs --interval 5", "--interval has no effect without --loop"),
        ("recover_stale_jobs --loop --dry-run", "--loop has no effect with --dry-run"),
        ("recover_stale_jobs --limit 5", "--limit has no effect without --dry-run"),
        ("verify_audit --folder x --events-from 5", "--events-from has no effect with --folder"),
        ("verify_audit --anchor x", "--anchor is a number"),
        ("inspect_database --propose --yes-run-triggers", "--yes-run-triggers has no effect with --propose"),
        (
            "enqueue_jobs --from-file x --queue a --count 2",
            "--queue and --count have no effect with --from-f",
        ),
        ("enqueue_jobs --from-file /nothing", "can't be read"),
        ("enqueue_jobs --customer a --package-size 5 --count 0", "--count"),
        ("enqueue_jobs --customer a --package-size 5 --payload [", "Not JSON"),
        ("enqueue_jobs", "Give --customer"),
        ("bulk_operation --cancel 7 --dry-run --reason x", "--dry-run has no effect with --stop"),
        ("bulk_operation --cancel 7 --status failed --reason x", "--status has no effect with --stop"),
        ("bulk_operation --cancel 7 --wait --reason x", "--wait has no effect with --stop"),
        ("bulk_operation --cancel 7 --resume 7 --reason x", "Give exactly one of these"),
        ("bulk_operation requeue --status failed", "Give a --reason"),
        ("bulk_operation requeue --reason x", "at least one filter"),
        ("bulk_operation requeue --nothing --reason x", "--nothing"),
        ("recovery_mode unknown-runs --rule never --hours 5 --reason x", "--hours goes with"),
        ("recovery_mode unknown-runs --rule after --hours nan --reason x", "give a number of hours"),
        ("recovery_mode arm --cutoff yesterday --reason x", "--cutoff 'yesterday' is not"),
        ("recovery_mode restored --completed /nothing --reason x", "can't be read"),
        ("requeue_job nonsense --reason x", "is not a job id"),
        ("redrive_dlq --queue nothing --reason x", "No queue 'nothing'"),
        ("redrive_dlq", "Give a --reason"),
        ("run_worker --handler a.b --queue nothing", "no queue named 'nothing'"),
        ("alerts snooze 1 --minutes 0", "--minutes"),
        ("alerts resolve 1", "Give a --reason"),
        ("channels test --reason x", "--reason"),
        ("api_keys revoke a", "Give a --reason"),
        ("api_keys create a --scope pauses:operate --reason x", "name it with --account"),
        ("rate_limits edit strict --reason x", "Say what to change"),
        ("rate_limits edit strict --set limit=1 --set limit=2 --reason x", "limit is set twice"),
        ("rate_limits edit strict --set limit=many --reason x", "not a whole number"),
        ("rate_limits disable strict", "Give a --reason"),
    ],
)
def test_wrong_arguments_are_refused_before_the_database_is_asked(line: str, told: str) -> None:
    """Django lets no test without its mark ask the database."""
    with pytest.raises(CommandError, match=told) as refused:
        call_command(*line.split())
    # Where argparse refuses, the process ends with its code, 2, before there is an error.
    assert refused.value.returncode == WRONG_ARGUMENTS or str(refused.value).startswith("Error: ")
