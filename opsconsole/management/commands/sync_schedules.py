"""The command that makes the schedules in the database equal to the table in the code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX, table
from opsconsole.kit import audit


class Command(BaseCommand):
    help = "Make the schedules in the database equal to the console's table. Pauses and next runs are kept."

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            done = schedules.sync()
            if done:
                said = f"Changed the schedules: {'; '.join(done)}."
                audit.log_without_user(audit.command_actor(""), said, why=audit.NOT_ASKED)
        for sentence in done:
            self.stdout.write(sentence)
        paused = schedules.ours().filter(repeats=schedules.PAUSED).values_list("name", flat=True)
        for name in paused:
            self.stdout.write(f"{name.removeprefix(PREFIX)}: paused, left so")
        self.stdout.write(f"{len(table())} schedules, {len(done)} changes.")
