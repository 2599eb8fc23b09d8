"""Tests of the commands ``check_dlq`` and ``redrive_dlq``: their output and exit codes."""

from __future__ import annotations

import json
import re
import signal
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from jobs.dead_letters import check
from jobs.management.commands import check_dlq
from jobs.models import DeadLetter, Job, ReplayAttempt, Status
from opsconsole.kit import audit, command_loops
from tests.factories import job
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters.account import Account, letter, letters, state

pytestmark = pytest.mark.django_db

State = DeadLetter.State


def run(*argv: str) -> tuple[str, CommandError | None]:
    out = StringIO()
    try:
        call_command(*argv, stdout=out)
    except CommandError as error:
        return out.getvalue(), error
    return out.getvalue(), None


@pytest.mark.usefixtures("account")
def test_check_of_empty_queues() -> None:
    said, error = run("check_dlq")

    assert re.fullmatch(r"[\d:]{8} default: empty\n[\d:]{8} orders: empty\n", said)
    assert error is None


def test_check_ends_with_1_when_there_are_dead_letters(account: Account) -> None:
    account.die("a", "b")

    said, error = run("check_dlq")

    assert "default: 2 dead letters, 2 new; all 2 seen" in said
    assert error is not None
    assert (str(error), error.returncode) == ("There are dead letters.", 1)


def test_check_ends_with_3_when_a_queue_cannot_be_read(account: Account) -> None:
    account.fake.fail_next(1, fakes.client_error("AccessDenied", 403))

    said, error = run("check_dlq")

    assert "default: could not be read. The queue" in said
    assert error is not None
    assert error.returncode == 3


def test_check_without_dead_letter_queues(settings: Any) -> None:
    settings.QUEUES = {}

    _, error = run("check_dlq")

    assert error is not None
    assert "set SQS_DLQ_URL" in str(error) and error.returncode == 3


def test_check_that_is_paused_does_not_say_that_queues_are_empty(account: Account) -> None:
    account.die("a")
    call_command("pause", "dead letter checks", "--reason", "deploy", stdout=StringIO())

    said, error = run("check_dlq")

    assert "default: not read, because dead letter checks are paused" in said
    assert error is not None
    assert "is unknown" in str(error) and error.returncode == 3


def test_dead_letters_are_a_finding_beside_a_queue_that_cannot_be_read(account: Account) -> None:
    account.die("a", fifo=True)
    account.fake.fail_next(1, fakes.client_error("AccessDenied", 403))

    _, error = run("check_dlq")

    assert error is not None
    assert (str(error), error.returncode) == ("There are dead letters.", 1)


@pytest.mark.parametrize("interval", ["0", "nan", "inf"])
def test_check_refuses_invalid_interval(interval: str) -> None:
    _, error = run("check_dlq", "--loop", "--interval", interval)

    assert str(error).startswith("--interval must be more than 0 seconds, and at most 604800 (a week).")


@pytest.mark.usefixtures("account")
def test_loop_survives_database_outage_and_stops_on_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(command_loops, "close_old_connections", lambda: None)
    turns = iter(range(9))
    real = check.check

    def fail_then_work(every: timedelta) -> Any:
        turn = next(turns)
        if turn < 2:
            raise OperationalError("gone away")
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        return real()

    monkeypatch.setattr(check_dlq, "check", fail_then_work)
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: self.is_set())

    said, error = run("check_dlq", "--loop", "--interval", "1")

    assert error is None
    assert said.count("The database does not answer") == 1
    assert "default: empty" in said


def test_redrive_dry_run_shows_plan(account: Account) -> None:
    account.die("order")
    account.die_with(job(status=Status.COMPLETED))
    account.check()

    said, error = run("redrive_dlq", "--dry-run", "--queue", "default")

    assert error is None
    assert re.search(r"replay   \S{36}  Will be sent to the queue default", said)
    assert re.search(r"skip     \S{36}  Its job is completed", said)
    assert said.endswith("2 dead letters; nothing was changed.\n")
    assert not ReplayAttempt.objects.exists()


def test_redrive_dry_run_tells_what_it_does_not_know(account: Account) -> None:
    said, error = run("redrive_dlq", "--dry-run", "--queue", "default")

    assert error is None
    assert said == (
        "0 dead letters; nothing was changed.\nThe dead letter queue of default was not read yet, so it may hold more.\n"
    )

    account.check()
    account.fake.fail_next(9, fakes.client_error("AccessDenied"), call="get_queue_attributes")
    account.check()
    said, _ = run("redrive_dlq", "--dry-run", "--queue", "default", "--json")

    [why] = json.loads(said)["unseen"]
    assert why.startswith("The dead letter queue of default could not be read last, so it may hold more: ")


def test_redrive_replays_all_and_reports_outcome(account: Account) -> None:
    account.die("one", "two")
    failed = job(status=Status.FAILED)
    account.die_with(failed)

    said, error = run("redrive_dlq", "--reason", "the directory is back", "--as", "olga")

    # As pages say it, so that the audit tells what became of each.
    assert {audit.parts_of(line).did for line in LogEntry.objects.all()} == {"Marked for replay."}

    assert error is None, error
    assert said.endswith("      3 replayed\n3 replayed.\n")
    assert account.dead() == []
    assert sorted(account.waiting())[:2] == ["one", "two"]
    assert Job.objects.get(pk=failed.pk).status == Status.PENDING
    assert set(ReplayAttempt.objects.values_list("actor", "reason")) == {
        ("operator:olga", "the directory is back")
    }


def test_redrive_of_a_group_with_a_limit_in_order_of_sending(account: Account) -> None:
    ids = account.die('{"a": 1}', '{"a": 2}', '{"a": 3}')
    account.die("other")
    account.check()
    group = letter(ids[0]).group

    said, error = run("redrive_dlq", "--group", str(group.pk), "--limit", "2", "--reason", "x")
    assert error is None, (error, said)
    assert [state(each) for each in letters(ids)].count(State.REPLAYED) == 2

    run("redrive_dlq", "--group", group.fingerprint, "--reason", "x")
    assert account.dead() == ["other"]


def test_redrive_of_one_queue(account: Account) -> None:
    account.die("here")
    account.die("there", fifo=True)

    run("redrive_dlq", "--queue", "orders", "--reason", "x")

    assert (account.dead(), account.dead(fifo=True)) == (["here"], [])


def test_redrive_reports_skipped_letters(account: Account) -> None:
    account.die_with(job(status=Status.COMPLETED))

    said, error = run("redrive_dlq", "--reason", "x")

    assert "Its job is completed: discard the letter." in said
    assert error is not None
    assert str(error).startswith("0 of 1 replayed, 1 skipped.")


def test_redrive_gives_up_without_progress(account: Account) -> None:
    account.die("order")
    account.check()
    account.fake.fail_next(99, fakes.throttled(), call="send")

    _, error = run("redrive_dlq", "--reason", "x")

    assert error is not None
    assert str(error).startswith("0 of 1 replayed, 0 skipped. The cluster continues with open requests")
    assert account.dead() == ["order"]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ((), "Give a --reason"),
        (("--reason", " "), "Give a --reason"),
        (
            ("--reason", "x", "--limit", "0"),
            "Error: argument --limit: give a whole number from 1 to 1,000,000",
        ),
        (("--reason", "x", "--group", "77"), "There is no failure group '77'. Nothing was replayed."),
        (
            ("--reason", "x", "--group", "nonsense"),
            "There is no failure group 'nonsense'. Nothing was replayed.",
        ),
        (("--reason", "x", "--queue", "theirs"), "No queue 'theirs' is configured. Nothing was done."),
    ],
)
def test_redrive_refuses_invalid_arguments(argv: tuple[str, ...], problem: str) -> None:
    _, error = run("redrive_dlq", *argv)

    assert error is not None
    assert str(error).startswith(problem)
