"""The part of ``make demo`` that speaks with the console's database; started by it."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from opsconsole.demo.environment import MARK
from opsconsole.demo.storyteller import Storyteller
from opsconsole.kit.supervision.supervisor import StopRequests


class Command(BaseCommand):
    help = "Feed the demo with jobs, kill a worker, tell what happens. Started by `make demo`."

    def handle(self, *args: Any, **options: Any) -> None:
        if MARK not in os.environ:
            raise CommandError("This is a part of the demo: start it with `make demo`.")
        with StopRequests() as stop:
            if not Storyteller(os.environ).run(stop):
                raise CommandError("The demo did not end well; the table above says why.")
