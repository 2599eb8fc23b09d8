"""Say which monitors are late, and let their alerts fire: for a cron of another machine."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from alerts.watch import monitors


class Command(BaseCommand):
    help = "Judge whether sweeps and checks still succeed, fire or resolve their alerts; exit 1 when one is late."

    def handle(self, *_args: Any, **_options: Any) -> None:
        late = monitors.judge()
        self.stdout.write(f"Late: {', '.join(late)}." if late else "No monitor is late.")
        if late:
            sys.exit(1)
