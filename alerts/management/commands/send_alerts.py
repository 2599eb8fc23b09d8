"""Send what people are to be told: one round, or again and again."""

from __future__ import annotations

import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, close_old_connections, connection

from alerts.channels.configured import configured
from alerts.sending import delivery, sender
from opsconsole.kit.errors import first_line
from opsconsole.kit.supervision.supervisor import StopRequests

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
CLOCK_SECONDS = 15.0


class Command(BaseCommand):
    help = (
        "Send the alerts that wait to their channels, remind of those that still fire, and judge monitors: one round, "
        "or with --loop until stopped. Any number of senders may run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--loop", action="store_true", help="send until stopped by SIGTERM or SIGINT")

    def handle(self, *_args: Any, loop: bool, **_options: Any) -> None:
        if loop:
            with StopRequests() as stop:
                self._loop(stop)
            return
        try:
            passed = sender.until_quiet()
        except Error as error:
            raise CommandError(f"The database does not answer: {first_line(error)}") from error
        self.stdout.write(f"{passed}.")
        if passed.again or passed.refused:
            raise CommandError("Not everything was taken; the Channels page says why.")

    def _loop(self, stop: StopRequests) -> None:
        if not configured():
            logger.warning("No alert channel is configured: alerts are shown in the console alone.")
        away = False
        clock_at = 0.0
        while not stop.asked:
            close_old_connections()
            try:
                if time.monotonic() >= clock_at:
                    sender.look_at_the_clock()
                    clock_at = time.monotonic() + CLOCK_SECONDS
                delivery.deliver()
                away = False
            except Error as error:
                connection.close()
                if not away:
                    logger.warning("The database does not answer, trying again: %s", first_line(error))
                away = True
            time.sleep(INTERVAL_SECONDS)
