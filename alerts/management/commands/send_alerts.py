"""Send alerts to their channels, once or until stopped."""

from __future__ import annotations

import logging
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandError

from alerts.channels.targets import all_targets
from alerts.sending import delivery, sender
from opsconsole.kit import command_loops, commands

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
PERIODIC_WORK_SECONDS = 15.0


class Command(commands.ConsoleCommand):
    help = (
        "Send waiting alerts to their channels, send reminders of alerts that still fire, and judge monitors. Without "
        "--loop, stop when nothing is left to send. Any number of senders may run."
    )
    examples = ("send_alerts", "send_alerts --loop")
    exit_codes: ClassVar = {1: "some alerts were not delivered; the page Channels shows why"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop", action="store_true", help="keep sending until stopped by SIGTERM or SIGINT"
        )

        commands.add_json(parser)

    def handle(self, *_args: Any, loop: bool, **options: Any) -> None:
        commands.refuse_json_in_loop(as_json=options["json"], loop=loop)
        if loop:
            self._loop()
            return
        counts = sender.send_until_idle()
        self.tell(asdict(counts), [f"{counts}."], as_json=options["json"])
        if counts.again or counts.refused:
            raise CommandError("Some alerts were not delivered. The Channels page shows why.")

    def _loop(self) -> None:
        if not all_targets():
            logger.warning("No alert channel is configured. Alerts are shown only in the console.")
        periodic_work_at = 0.0

        def turn() -> None:
            nonlocal periodic_work_at
            if time.monotonic() >= periodic_work_at:
                sender.do_periodic_work()
                periodic_work_at = time.monotonic() + PERIODIC_WORK_SECONDS
            delivery.deliver()

        command_loops.repeat(turn, INTERVAL_SECONDS, logger.warning)
