"""The command that makes the schedules in the database equal to the table in the code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX, table


class Command(BaseCommand):
    help = "Make the schedules in the database equal to the console's table. Pauses and next runs are kept."

    def handle(self, *args: Any, **options: Any) -> None:
        done = schedules.sync()
        for sentence in done:
            self.stdout.write(sentence)
        paused = schedules.ours().filter(repeats=schedules.PAUSED).values_list("name", flat=True)
        for name in paused:
            self.stdout.write(f"{name.removeprefix(PREFIX)}: paused, left so")
        self.stdout.write(f"{len(table())} schedules, {len(done)} changes.")
