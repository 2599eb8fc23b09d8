"""Bring the database's schedules in step with the table in the code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from opsconsole.cluster import schedules


class Command(BaseCommand):
    help = "Add, change and remove schedules so that they are those of the table; keeps pauses and next runs."

    def handle(self, *args: Any, **options: Any) -> None:
        done = schedules.sync()
        for sentence in done:
            self.stdout.write(sentence)
        paused = schedules.ours().filter(repeats=schedules.PAUSED).values_list("name", flat=True)
        for name in paused:
            self.stdout.write(f"{name.removeprefix(schedules.PREFIX)}: paused, left so")
        self.stdout.write(f"{len(schedules.table())} schedules, {len(done)} changes.")
