from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ratelimits.records import recording


class Command(BaseCommand):
    help = "Roll up and delete rate limit records older than an hour."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Deleted {recording.cleanup()} rate limit records older than an hour.")
