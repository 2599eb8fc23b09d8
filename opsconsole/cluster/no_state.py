"""What stands for django-q2's commands that read the state of clusters from the cache, where this console keeps none."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

WHERE = (
    "Clusters keep no state in the store, so nothing can be shown here. The overview and python manage.py judge_monitors "
    "say whether a cluster works; the log of run_cluster says what it does."
)


class Command(BaseCommand):
    help = WHERE

    def add_arguments(self, parser: CommandParser) -> None:
        for option in ("--config", "--ids", "--run-once", "--workers"):
            parser.add_argument(option, action="store_true", help="ignored")

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError(WHERE)
