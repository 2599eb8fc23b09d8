"""Tests of what management commands share."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandParser
from django.db import InterfaceError, OperationalError, connection

from opsconsole.kit import alive, command_arguments, command_loops, commands
from opsconsole.kit.characters import made_visible


@pytest.fixture(autouse=True)
def _connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_loops, "close_old_connections", lambda: None)
    monkeypatch.setattr(connection, "close", lambda: None)


class Named(commands.ConsoleCommand):
    """A command with an argument of each kind, which prints them."""

    def add_arguments(self, parser: CommandParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        show = steps.add_parser("show")
        show.add_argument("--rule")
        show.add_argument("--reason", default="")
        show.add_argument("--folder", type=Path)
        show.add_argument("--limit", type=command_arguments.whole_number(most=9), default=3)

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{options['rule']}|{options['reason']}|{options['folder']}|{options['limit']}")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--rule", ""], "--rule: it is empty"),
        (["--rule", "\udcff"], "--rule: it is not text in UTF-8"),
        (["--reason", "\udcff"], "--reason: it is not text in UTF-8"),
        (["--reason", "a\x00b"], "--reason: it is not text in UTF-8"),
        (["--folder", ""], "--folder: it is empty"),
        (["--limit", "0"], "--limit: give a whole number from 1 to 9"),
        (["--limit", "10"], "--limit: give a whole number from 1 to 9"),
        (["--limit", "9" * 5_000], "--limit: give a whole number from 1 to 9"),
        (["--limit", "nan"], "--limit: give a whole number from 1 to 9"),
    ],
)
def test_odd_arguments_are_refused_as_wrong(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        Named().run_from_argv(["manage.py", "named", "show", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(f"argument {problem}")


@pytest.mark.django_db
def test_output_shows_what_nobody_sees() -> None:
    out = StringIO()
    call_command(Named(), "show", "--rule", "a\x1b[2J\u202eb\tc é", "--reason", "", stdout=out)
    assert out.getvalue() == "a\\x1b[2J\\u202eb\tc é||None|3\n"


def test_made_visible_leaves_lines_and_letters_alone() -> None:
    plain = "Zeile 1\n\tZeile 2 “ok” \N{NO-BREAK SPACE}日本 🔴"
    assert made_visible(plain) == plain
    assert made_visible("a\rb\x7f\x9b\u2066\u200b") == "a\\rb\\x7f\\x9b\\u2066\\u200b"


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

    command_loops.repeat(Turns(None, away, closed, None, away, None), 0.001, reports.append)

    assert reports == ["The database does not answer, trying again: gone away"] * 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_loop_does_not_hide_other_errors() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command_loops.repeat(fail, 0.001, lambda sentence: None)


def test_loop_gives_signs_of_life_while_it_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches it for three minutes would end a check of each five minutes."""
    monkeypatch.setattr(command_loops, "SIGN_SECONDS", 0.001)
    stopped, signs, turns = threading.Event(), [], []

    def hear() -> None:
        signs.append("sign")
        if len(signs) == 4:
            stopped.set()

    with command_loops.stopped_by(stopped), alive.heard_by(hear):
        command_loops.repeat(lambda: turns.append("turn"), 3_600, lambda sentence: None)

    assert (len(turns), len(signs)) == (1, 4)


def test_second_signal_has_its_usual_effect() -> None:
    with command_loops.stopped_by_signals() as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.is_set()
        handlers: Any = signal.getsignal(signal.SIGTERM)
        assert handlers == signal.SIG_DFL


def test_heap_of_a_process_that_runs_for_long_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_loops, "beside", [])
    gc.unfreeze()
    try:
        with command_loops.runs_for_long():
            assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
