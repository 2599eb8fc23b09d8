"""The command that runs the scheduled tasks, the outbox dispatcher and the alert sender."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command

from opsconsole import metrics_server
from opsconsole.cluster import supervised
from opsconsole.kit import commands
from opsconsole.kit.supervision.supervisor import StopRequests


class Command(commands.ConsoleCommand):
    help = (
        "Run the django-q2 cluster, the outbox dispatcher and the sender of alerts, and restart the cluster when "
        "nothing comes through it. "
        "SIGTERM or Ctrl-C: running tasks finish first; a second signal ends them."
    )
    examples = ("run_cluster",)

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("check", tags=["store"], deploy=True)
        with StopRequests() as stop:
            supervised.run(stop, metrics_server.programs())
