"""The command that checks the dead letter queues, once or in a loop."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.dead_letters.check import CheckedQueue, check
from opsconsole.kit import commands, intervals

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
            default=intervals.of_dead_letter_checks().seconds,
            help="seconds between the checks of --loop (default: OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)",
        )

    def handle(self, *args: Any, loop: bool, interval: float, **options: Any) -> None:
        if interval <= 0:
            raise CommandError("--interval must be more than 0 seconds.")
        if loop:
            commands.repeat(
                lambda: self._tell(check(timedelta(seconds=interval))),
                interval,
                lambda sentence: commands.say(self, sentence),
            )
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

    def _tell(self, checked: list[CheckedQueue]) -> None:
        for each in checked:
            commands.say(self, str(each))
