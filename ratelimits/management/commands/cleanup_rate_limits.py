from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from opsconsole.kit import commands
from ratelimits.records import recording


class Command(commands.ConsoleCommand):
    help = "Roll up and delete rate limit records older than an hour."
    examples = ("cleanup_rate_limits",)

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = recording.cleanup()
        lines = [f"Deleted {deleted} rate limit records older than an hour."]
        self.tell({"deleted": deleted}, lines, as_json=options["json"])
