"""The command that checks the dead letter queues, once or in a loop."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from jobs.dead_letters.check import CheckedQueue, check
from opsconsole.kit.errors import first_line

UNREADABLE = 2


class Command(BaseCommand):
    help = (
        "Scan every dead letter queue, store its messages, and raise or resolve its alerts. "
        "Exit code 0: all queues are empty; 1: there are dead letters; 2: a queue could not be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="check until stopped by SIGTERM or SIGINT")
        parser.add_argument(
            "--interval",
            type=float,
            default=settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS,
            help="seconds between the checks of --loop (default: OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)",
        )

    def handle(self, *args: Any, loop: bool, interval: float, **options: Any) -> None:
        if interval <= 0:
            raise CommandError("--interval must be more than 0 seconds.")
        if loop:
            self._loop(interval)
        else:
            self._once()

    def _once(self) -> None:
        checked = check()
        if not checked:
            raise CommandError(
                "No dead letter queue is configured: set SQS_DLQ_URL or OPSCONSOLE_QUEUES.",
                returncode=UNREADABLE,
            )
        self._tell(checked)
        if any(each.visited.problem for each in checked):
            raise CommandError("Some dead letter queues could not be read.", returncode=UNREADABLE)
        if any(each.visited.depth for each in checked):
            raise CommandError("There are dead letters.")

    def _loop(self, interval: float) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        away = False
        while not stopped.is_set():
            close_old_connections()
            try:
                self._tell(check())
                away = False
            except DatabaseError as error:
                # Keep running while the database is down, so that nobody has to restart the command at night.
                connection.close()
                if not away:
                    self._say(f"the database does not answer, trying again: {first_line(error)}")
                away = True
            stopped.wait(interval)

    def _tell(self, checked: list[CheckedQueue]) -> None:
        for each in checked:
            self._say(str(each))

    def _say(self, sentence: str) -> None:
        self.stdout.write(f"{timezone.now():%H:%M:%S} {sentence}")
        self.stdout.flush()
