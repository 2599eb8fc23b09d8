"""Tests of the dispatch command: one pass with an exit code, or a loop that survives outages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from jobs.management.commands import dispatch_outbox
from jobs.messaging.dispatcher import Dispatched
from jobs.models import Outbox
from opsconsole.kit import alive, command_loops
from tests.conftest import TestQueue
from tests.factories import job, letter
from tests.processes import marked
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[3]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def handlers_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch, handlers_restored: None) -> Callable[..., str]:
    """Return a function that runs the loop with these passes, sends SIGTERM in the last, and returns the output."""

    def run(passes: Sequence[Dispatched | Exception]) -> str:
        left = list(passes)

        def dispatch(limit: int, *, seconds: float) -> Dispatched:
            done = left.pop(0)
            if not left:
                os.kill(os.getpid(), signal.SIGTERM)
            if isinstance(done, Exception):
                raise done
            return done

        monkeypatch.setattr(dispatch_outbox, "dispatch", dispatch)
        said = StringIO()
        call_command("dispatch_outbox", "--loop", "--interval", "0.001", stdout=said)
        assert not left
        return "".join(line.partition(" ")[2] for line in said.getvalue().splitlines(keepends=True))

    return run


@pytest.mark.django_db
def test_one_pass_says_what_it_sent(sqs_queue: TestQueue) -> None:
    for _ in range(3):
        letter(job())
    said = StringIO()
    call_command("dispatch_outbox", "--limit", "2", stdout=said)
    assert said.getvalue().startswith("2 sent, 0 dropped, ")
    assert len(sqs_queue.bodies()) == 2


@pytest.mark.django_db
def test_one_pass_fails_when_something_could_not_be_sent(sqs_queue: TestQueue) -> None:
    letter(job())
    letter(job(queue="gone"))
    said, complaints = StringIO(), StringIO()
    with pytest.raises(CommandError, match="Some messages could not be sent"):
        call_command("dispatch_outbox", stdout=said, stderr=complaints)
    assert said.getvalue().startswith("1 sent, ")
    assert complaints.getvalue().startswith("gone/queue: There is no queue 'gone' configured")


@pytest.mark.parametrize(
    "words", [("--limit", "0"), ("--loop", "--interval", "0"), ("--loop", "--interval", "nan")]
)
def test_invalid_arguments_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"must be more than 0|whole number from 1"):
        call_command("dispatch_outbox", *words)


@pytest.mark.django_db
def test_loop_logs_each_change_once(loop: Callable[..., str]) -> None:
    sent = Dispatched(sent=5, taken=5, reached={"default/queue"})
    refused = Dispatched(failed=5, taken=5, waiting_on={"default/queue": "It can't be reached."})
    nothing_due = Dispatched()
    said = loop([sent, refused, nothing_due, refused, sent, sent, refused])
    assert said == (
        "default/queue can't be reached, trying again: It can't be reached.\n"
        "default/queue can be reached again.\n"
        "default/queue can't be reached, trying again: It can't be reached.\n"
        "stopped; 15 sent.\n"
    )


@pytest.mark.django_db
def test_loop_survives_database_outage(loop: Callable[..., str]) -> None:
    away = OperationalError("server closed the connection unexpectedly\n\tThis probably means...")
    said = loop([Dispatched(sent=1), away, away, Dispatched(sent=2), Dispatched()])
    assert said == (
        "the database can't be reached, trying again: server closed the connection unexpectedly\n"
        "the database can be reached again.\n"
        "stopped; 3 sent.\n"
    )


@pytest.mark.django_db
def test_loop_gives_signs_of_life_between_passes_that_are_minutes_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever watches it for three minutes would end a loop of each four minutes."""
    monkeypatch.setattr(command_loops, "SIGN_SECONDS", 0.001)
    stopped = threading.Event()
    passes: list[int] = []
    signs: list[int] = []

    def dispatch(limit: int, *, seconds: float) -> Dispatched:
        passes.append(limit)
        return Dispatched()

    def hear() -> None:
        signs.append(len(passes))
        if len(signs) == 4:
            stopped.set()

    monkeypatch.setattr(dispatch_outbox, "dispatch", dispatch)
    with command_loops.stopped_by(stopped), alive.heard_by(hear):
        call_command("dispatch_outbox", "--loop", "--interval", "240", stdout=StringIO())

    assert signs == [1, 1, 1, 1]


@pytest.mark.django_db
def test_loop_looks_again_soon_after_a_burst_and_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes a burst commits it page by page; a message now and then wakes nobody more often."""
    burst, few, full = (
        Dispatched(sent=100, taken=100),
        Dispatched(sent=99, taken=99),
        Dispatched(sent=1, taken=20_000),
    )
    # It is tried again after a rest, however many messages others take.
    unreachable = Dispatched(
        sent=200, taken=700, failed=500, waiting_on={"default/queue": "It can't be reached."}
    )
    passes = [few, Dispatched(), burst, Dispatched(), few, full, unreachable, *[Dispatched()] * 6]
    left = list(passes)
    rests: list[float] = []
    stopped = threading.Event()

    def dispatch(limit: int, *, seconds: float) -> Dispatched:
        assert (limit, seconds) == (20_000, 2.0)
        return left.pop(0)

    def rest(seconds: float, *_: object, or_rung: bool) -> None:
        assert or_rung
        rests.append(seconds)
        if not left:
            stopped.set()

    monkeypatch.setattr(dispatch_outbox, "dispatch", dispatch)
    monkeypatch.setattr(command_loops, "rest", rest)
    with command_loops.stopped_by(stopped):
        call_command("dispatch_outbox", "--loop", stdout=StringIO())

    assert rests == [1, 1, 0.02, 0.04, 0.08, 0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1]


def _database_url() -> str:
    """Return the URL of the test database, for another process."""
    found = connection.settings_dict
    return f"postgres://{found['USER']}@/{found['NAME']}?host={quote(str(found['HOST']), safe='')}"


@pytest.mark.django_db(transaction=True)
def test_process_sends_messages_and_stops_on_sigterm(sqs_queue: TestQueue) -> None:
    words = [sys.executable, "manage.py", "dispatch_outbox", "--loop", "--interval", "0.05"]
    with marked() as mark:
        environ: dict[str, Any] = {
            "DATABASE_URL": _database_url(),
            "SQS_QUEUE_URL": sqs_queue.url,
            "OPSCONSOLE_ENV": "development",
        }
        process = subprocess.Popen(
            words, cwd=REPOSITORY, env=mark.environ | environ, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2):
            sent = Outbox.objects.filter(pk=letter(job()).pk, state="sent")
            wait_until(sent.exists, 30, what="sent")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.endswith("stopped; 2 sent.\n")
    assert len(sqs_queue.bodies()) == 2
