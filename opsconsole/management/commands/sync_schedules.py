"""The command that makes the schedules in the database equal to the table in the code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX, table
from opsconsole.kit import audit, commands


class Command(commands.ConsoleCommand):
    help = "Make the schedules in the database equal to the console's table. Pauses and next runs are kept."
    examples = ("sync_schedules",)

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            changes = schedules.sync()
            if changes:
                did = f"Changed the schedules: {'; '.join(changes)}."
                audit.log_without_user(audit.command_actor(""), did, why=audit.NOT_ASKED)
        names = schedules.ours().filter(repeats=schedules.PAUSED).values_list("name", flat=True)
        paused = [name.removeprefix(PREFIX) for name in names]
        lines = [*changes, *(f"{name}: paused, left so" for name in paused)]
        lines.append(f"{len(table())} schedules, {len(changes)} changes.")
        answer = {"schedules": len(table()), "changes": changes, "paused": paused}
        self.tell(answer, lines, as_json=options["json"])
