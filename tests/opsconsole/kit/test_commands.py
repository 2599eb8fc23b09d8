"""Tests of what management commands share."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from opsconsole.kit import alive, commands


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "close_old_connections", lambda: None)
    monkeypatch.setattr(connection, "close", lambda: None)


class Turns:
    """Turns of a loop, some of which fail; SIGTERM arrives during the last."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors: Iterator[Exception | None] = iter(errors)
        self.left = len(errors)

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGTERM)
        if error := next(self.errors):
            raise error


def test_loop_reports_each_outage_once_and_stops_on_signal() -> None:
    reports: list[str] = []
    away, closed = OperationalError("gone away\nHINT: wait"), InterfaceError("connection is closed")
    before = signal.getsignal(signal.SIGTERM)

    commands.repeat(Turns(None, away, closed, None, away, None), 0.001, reports.append)

    assert reports == ["The database does not answer, trying again: gone away"] * 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_loop_does_not_hide_other_errors() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        commands.repeat(fail, 0.001, lambda sentence: None)


def test_loop_gives_signs_of_life_while_it_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches it for three minutes would end a check of each five minutes."""
    monkeypatch.setattr(commands, "SIGN_SECONDS", 0.001)
    stopped, signs, turns = threading.Event(), [], []

    def hear() -> None:
        signs.append("sign")
        if len(signs) == 4:
            stopped.set()

    with commands.stopped_by(stopped), alive.heard_by(hear):
        commands.repeat(lambda: turns.append("turn"), 3_600, lambda sentence: None)

    assert (len(turns), len(signs)) == (1, 4)


def test_second_signal_has_its_usual_effect() -> None:
    with commands.stopped_by_signals() as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.is_set()
        handlers: Any = signal.getsignal(signal.SIGTERM)
        assert handlers == signal.SIG_DFL
