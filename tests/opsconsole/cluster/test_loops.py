"""Tests of the loops in one process: each is watched, and all of them start again when one ends or hangs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.db import connections

from jobs.intake import enqueue
from jobs.intake.enqueue import NewJob
from jobs.management.commands import dispatch_outbox
from jobs.messaging import outbox
from jobs.models import Outbox
from opsconsole.cluster import loops
from opsconsole.kit import alive, command_loops, doorbell
from tests import factories
from tests.conftest import TestQueue
from tests.waiting import wait_until

DISPATCHER = ("dispatch_outbox", "--loop", "--interval=0.05")
SENDER = ("send_alerts", "--loop")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LOOK_SECONDS", 0.05)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Let what this process and its forks log stand in a file."""
    file = tmp_path / "log"
    handler = logging.FileHandler(file)
    logging.getLogger().addHandler(handler)
    yield file
    logging.getLogger().removeHandler(handler)
    handler.close()


def start(*words: Sequence[str]) -> ForkProcess:
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=loops.run, args=(words, 20.0), daemon=True)
    process.start()
    return process


@pytest.mark.django_db(transaction=True)
def test_all_loops_work_and_end_when_asked(sqs_queue: TestQueue) -> None:
    process = start(DISPATCHER, SENDER)
    try:
        sent = Outbox.objects.filter(pk=factories.letter(factories.job()).pk, state="sent")
        wait_until(sent.exists, 60)
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()


@pytest.mark.django_db(transaction=True)
def test_bell_ends_the_rest_of_the_dispatcher(sqs_queue: TestQueue) -> None:
    """Its next look would be in an hour. It hears who commits a burst, and who stops it."""
    before = Outbox.objects.filter(pk=factories.letter(factories.job()).pk, state="sent")
    with doorbell.hung():
        process = start(("dispatch_outbox", "--loop", "--interval=3600"))
        try:
            wait_until(before.exists, 60)
            enqueue.enqueue_many(
                [NewJob(customer_id="TEST-001", package_size=1) for _ in range(outbox.BURST)]
            )
            wait_until(lambda: not Outbox.objects.filter(state="waiting").exists(), 60)
            os.kill(process.pid or 0, signal.SIGTERM)
            process.join(60)
            assert process.exitcode == 0
        finally:
            process.kill()


@pytest.mark.django_db(transaction=True)
def test_end_of_one_loop_ends_the_process(log: Path) -> None:
    process = start(SENDER, ("dispatch_outbox", "--loop", "--json"))
    process.join(60)
    assert process.exitcode == loops.FAILED
    said = log.read_text()
    assert "--json can't be combined with --loop" in said
    assert "The loop dispatch_outbox ended; the loops start again." in said


@pytest.mark.django_db(transaction=True)
def test_loop_that_fails_says_why_in_the_log(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError("nobody expected this")

    monkeypatch.setattr("alerts.sending.delivery.deliver", fail)
    process = start(SENDER)
    process.join(60)
    assert process.exitcode == loops.FAILED
    said = log.read_text()
    assert "The loop send_alerts failed" in said and "nobody expected this" in said


@pytest.mark.django_db(transaction=True)
def test_others_finish_their_turns_when_one_loop_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An alert that is being posted would have an unknown outcome, and be sent again at each start."""

    delivering = threading.Event()

    def deliver() -> None:
        stopped: threading.Event = command_loops._stopped.by
        delivering.set()
        stopped.wait(60)
        # The channel takes a while to answer.
        threading.Event().wait(0.3)
        (tmp_path / "answered").touch()

    def end(*_: object, **__: object) -> None:
        delivering.wait(60)
        raise CommandError("It ends while an alert is being posted.")

    monkeypatch.setattr("alerts.sending.delivery.deliver", deliver)
    monkeypatch.setattr(dispatch_outbox.Command, "handle", end)
    process = start(SENDER, ("dispatch_outbox", "--loop"))
    process.join(60)
    assert process.exitcode == loops.FAILED
    assert (tmp_path / "answered").exists()


@pytest.mark.django_db(transaction=True)
def test_loop_that_hangs_ends_the_process(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    hang = threading.Event()
    monkeypatch.setattr("alerts.sending.delivery.deliver", hang.wait)
    monkeypatch.setattr(loops, "HUNG_SECONDS", 2.0)
    process = start(SENDER)
    process.join(60)
    assert process.exitcode == loops.FAILED
    assert "The loop send_alerts has not finished a turn for" in log.read_text()


def test_sign_of_life_of_a_thread_is_its_own() -> None:
    heard: list[str] = []
    with alive.heard_by(lambda: heard.append("sign")):
        alive.SignOfLife().give()
    alive.SignOfLife().give()
    assert heard == ["sign"]


def test_event_stops_a_loop_outside_of_the_main_thread() -> None:
    stopped, heard = threading.Event(), []

    def loop() -> None:
        with command_loops.stopped_by(stopped), command_loops.stopped_by_signals() as event:
            event.wait(60)
            heard.append(event)

    thread = threading.Thread(target=loop)
    thread.start()
    stopped.set()
    thread.join(60)
    assert heard == [stopped]
