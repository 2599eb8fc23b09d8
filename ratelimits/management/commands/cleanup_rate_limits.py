from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ratelimits import records


class Command(BaseCommand):
    help = "Delete rate limit records older than an hour."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Deleted {records.cleanup()} rate limit records older than an hour.")
