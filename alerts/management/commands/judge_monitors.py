"""Judge the monitors from outside the cluster, such as from cron on another machine."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from alerts.watch import monitor_alerts


class Command(BaseCommand):
    help = (
        "Check whether sweeps, checks and senders still succeed on time, and fire or resolve their alerts. Exit with "
        "status 1 if a monitor is late."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        late = monitor_alerts.judge()
        self.stdout.write(f"Late: {', '.join(late)}." if late else "No monitor is late.")
        if late:
            sys.exit(1)
