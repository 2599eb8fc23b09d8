"""Loops of commands and what runs beside them: turns that survive an outage of the database, until a signal stops them."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from django.db import Error, close_old_connections, connection

from opsconsole.kit import alive, doorbell, schema_version
from opsconsole.kit.database_troubles import headline, trouble_behind
from opsconsole.kit.errors import first_line

AWAY_SECONDS = 5.0
# Whoever watches a process waits three minutes for a sign of life.
SIGN_SECONDS = 60.0

# What a process that runs for long has beside its work, such as the port of its metrics. The shell adds to it.
beside: list[Callable[[], AbstractContextManager[None]]] = []


@contextmanager
def runs_for_long() -> Iterator[None]:
    """Have what belongs beside a loop or worker that no supervisor started.

    What is loaded now stays until the process ends: the garbage collector need not look through it again and again.
    """
    gc.collect()
    gc.freeze()
    with ExitStack() as entered:
        for each in beside:
            entered.enter_context(each())
        yield


_stopped = threading.local()


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Let the event stop the loop that this thread runs: only the main thread of a process can handle signals."""
    _stopped.by = event
    try:
        yield
    finally:
        del _stopped.by


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGTERM or SIGINT sets, so that the turn finishes; a second ends the process."""
    if event := getattr(_stopped, "by", None):
        yield event
        return
    stopped = threading.Event()

    def stop(number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def repeat(turn: Callable[[], object], interval: float, report: Callable[[str], None]) -> None:
    """Take a turn every ``interval`` seconds until stopped by a signal.

    Turns go on while the database is down, read-only or not migrated, so that nobody has to restart the command at night.
    Each outage is reported once, and ends within ``AWAY_SECONDS``, however long the interval is.
    """
    away = False
    life = alive.SignOfLife()
    with runs_for_long(), stopped_by_signals() as stopped:
        while not stopped.is_set():
            close_old_connections()
            try:
                schema_version.require()
                turn()
                away = False
            except Error as error:
                connection.close()
                if not away:
                    report(f"{headline(trouble_behind(error))}, trying again: {first_line(error)}")
                away = True
            rest(min(interval, AWAY_SECONDS) if away else interval, life, stopped)


def rest(seconds: float, life: alive.SignOfLife, stopped: threading.Event, *, or_rung: bool = False) -> None:
    """Wait until the next turn or until stopped, and give signs of life: a long interval is no turn that hangs.

    ``or_rung``: the bell ends the rest, where there is one; whoever stops the loop rings it, too.
    """
    wait = doorbell.wait if or_rung and doorbell.hangs() else stopped.wait
    ends_at = time.monotonic() + seconds
    life.give()
    while (left := ends_at - time.monotonic()) > 0 and not stopped.is_set():
        if wait(min(left, SIGN_SECONDS)):
            return
        life.give()
