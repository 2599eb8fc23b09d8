"""The part of ``make demo`` that uses the console's database; started by it."""

from __future__ import annotations

import logging
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsconsole.demo.environment import MARK
from opsconsole.demo.storyteller import Storyteller
from opsconsole.kit.supervision.supervisor import StopRequests


class Command(BaseCommand):
    help = "Produce the demo's jobs, kill a worker, and report what happens. Started by `make demo`."

    def handle(self, *args: Any, **options: Any) -> None:
        if MARK not in os.environ:
            raise CommandError("This command is part of the demo. Run `make demo` instead.")
        # The story tells what is done. Each line of the log about it would tell it again, in other words.
        logging.getLogger("opsconsole.activity").setLevel(logging.WARNING)
        with StopRequests() as stop:
            if not Storyteller(os.environ).run(stop):
                raise CommandError("The demo failed; the table above says why.")
