"""Send alerts to their channels, once or until stopped."""

from __future__ import annotations

import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, close_old_connections, connection

from alerts.channels.targets import all_targets
from alerts.sending import delivery, sender
from opsconsole.kit.errors import first_line
from opsconsole.kit.supervision.supervisor import StopRequests

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
PERIODIC_WORK_SECONDS = 15.0


class Command(BaseCommand):
    help = (
        "Send waiting alerts to their channels, send reminders of alerts that still fire, and judge monitors. Without "
        "--loop, stop when nothing is left to send. Any number of senders may run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop", action="store_true", help="keep sending until stopped by SIGTERM or SIGINT"
        )

    def handle(self, *_args: Any, loop: bool, **_options: Any) -> None:
        if loop:
            with StopRequests() as stop:
                self._loop(stop)
            return
        try:
            counts = sender.send_until_idle()
        except Error as error:
            raise CommandError(f"The database does not answer: {first_line(error)}") from error
        self.stdout.write(f"{counts}.")
        if counts.again or counts.refused:
            raise CommandError("Some alerts were not delivered. The Channels page shows why.")

    def _loop(self, stop: StopRequests) -> None:
        if not all_targets():
            logger.warning("No alert channel is configured. Alerts are shown only in the console.")
        database_away = False
        periodic_work_at = 0.0
        while not stop.asked:
            close_old_connections()
            try:
                if time.monotonic() >= periodic_work_at:
                    sender.do_periodic_work()
                    periodic_work_at = time.monotonic() + PERIODIC_WORK_SECONDS
                delivery.deliver()
                database_away = False
            except Error as error:
                connection.close()
                if not database_away:
                    logger.warning("The database does not answer. Retrying: %s", first_line(error))
                database_away = True
            time.sleep(INTERVAL_SECONDS)
