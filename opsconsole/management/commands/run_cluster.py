"""The command that runs the scheduled tasks, the outbox dispatcher, the alert sender, and the web server if asked to."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command

from opsconsole import metrics_server
from opsconsole.cluster import supervised
from opsconsole.kit import commands
from opsconsole.kit.supervision.supervisor import StopRequests
from opsconsole.serving import program as web_server
from opsconsole_worker import sqs


class Command(commands.ConsoleCommand):
    help = (
        "Run the django-q2 cluster, the outbox dispatcher and the sender of alerts, and restart the cluster when "
        "nothing comes through it. "
        "SIGTERM or Ctrl-C: running tasks finish first; a second signal ends them."
    )
    examples = ("run_cluster", "run_cluster --web")
    # Its tasks have limits of their own, and what hangs is started again.
    patience_seconds = None

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--web",
            action="store_true",
            help=(
                "also run the web server, with gunicorn's options from GUNICORN_CMD_ARGS; on a host that runs both, it "
                "takes less memory than a service of its own"
            ),
        )

    def handle(self, *args: Any, web: bool, **options: Any) -> None:
        call_command("check", tags=["store"], deploy=True)
        beside = metrics_server.programs()
        if web:
            # First: the pages fill the 5 MB of holes that botocore's list of endpoints leaves.
            sqs.load()
            beside.append(web_server.program())
        with StopRequests() as stop:
            supervised.run(stop, beside)
