"""django-q2's command, with a sentinel of our own; ``run_cluster`` supervises it."""

from __future__ import annotations

import os
from typing import Any

from django_q.management.commands import qcluster

from opsconsole.cluster.sentinel import Sentinel
from opsconsole.kit import commands
from opsconsole.kit.supervision.supervisor import StopRequests


class Command(qcluster.Command):  # type: ignore[misc]  # django-q2 has no types
    requires_system_checks = commands.CHECKS_OF_SETTINGS

    def handle(self, *args: Any, **options: Any) -> None:
        # Its processes name themselves; /proc then still shows their environment.
        os.environ.setdefault("SPT_NOENV", "1")
        if name := options.get("cluster_name"):
            os.environ["Q_CLUSTER_NAME"] = name
        with StopRequests() as stop:
            Sentinel(stop).run(once=options.get("run_once", False))
