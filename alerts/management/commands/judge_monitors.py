"""Judge the monitors from outside the cluster, such as from cron on another machine."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from django.core.management.base import CommandParser

from alerts.watch import monitor_alerts
from opsconsole.kit import commands
from opsconsole.kit.exit_codes import COULD_NOT


class Command(commands.ConsoleCommand):
    help = "Check whether sweeps, checks and senders still succeed on time, and fire or resolve their alerts."
    examples = ("judge_monitors", "judge_monitors --json")
    exit_codes: ClassVar = {
        0: "no monitor is late",
        1: "a monitor is late",
        COULD_NOT: "unknown, because the database, the settings or the output failed",
    }
    # Whoever calls it waits for the answer, and a database whose disk hangs gives none: that is to be told, too.
    patience_seconds = 30.0

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_json(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        late = list(monitor_alerts.judge())
        lines = [f"Late: {', '.join(late)}." if late else "No monitor is late."]
        self.tell({"late": late}, lines, as_json=options["json"])
        if late:
            sys.exit(1)
