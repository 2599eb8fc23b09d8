"""django-q2's command, with a sentinel that notices killed processes; ``run_cluster`` supervises it."""

from __future__ import annotations

import os
from typing import Any

from django_q.management.commands import qcluster

from opsconsole.cluster import sentinel
from opsconsole.kit import commands


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 has no types
    requires_system_checks = commands.CHECKS_OF_SETTINGS

    def handle(self, *args: Any, **options: Any) -> None:
        # Its processes name themselves; /proc then still shows their environment.
        os.environ.setdefault("SPT_NOENV", "1")
        sentinel.use()
        super().handle(*args, **options)
