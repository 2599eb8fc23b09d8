"""What management commands share: arguments, and loops that survive an outage of the database."""

from __future__ import annotations

import getpass
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections, connection
from django.utils import timezone

from opsconsole.kit import schema_version
from opsconsole.kit.database_troubles import headline, trouble_behind
from opsconsole.kit.errors import first_line

AWAY_SECONDS = 5.0


def add_operator(parser: ArgumentParser) -> None:
    """Add the option that names the person for the audit."""
    parser.add_argument(
        "--as",
        dest="operator",
        default=getpass.getuser(),
        help="the operator to record (default: your system user)",
    )


def add_dry_run(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would be done and change nothing")


def say(command: BaseCommand, sentence: str) -> None:
    """Print a line with the time, at once: others read along."""
    command.stdout.write(f"{timezone.now():%H:%M:%S} {sentence.strip()}")
    command.stdout.flush()


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGTERM or SIGINT sets, so that the turn finishes; a second ends the process."""
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
    with stopped_by_signals() as stopped:
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
            stopped.wait(min(interval, AWAY_SECONDS) if away else interval)
