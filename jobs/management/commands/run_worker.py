"""The command that runs a worker."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from jobs.worker import Consumer
from jobs.worker.traced import traced
from opsconsole.kit import command_loops, commands
from opsconsole.kit.command_arguments import whole_number, wrong
from opsconsole_worker.working.handlers import InvalidHandler, load
from opsconsole_worker.working.signals import drain_on_signals


class Command(commands.ConsoleCommand):
    help = "Run the jobs of a queue with a handler. SIGTERM or Ctrl-C: finish the current run, then stop."
    # The handlers share its connection.
    patience_seconds = None
    examples = (
        "run_worker --handler shop.jobs.submit",
        "run_worker --handler shop.jobs.submit --queue large --max-jobs 500",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--handler", required=True, help="dotted path of the function that runs a job")
        parser.add_argument("--queue", default="default", help="name of the queue (default: default)")
        parser.add_argument("--max-jobs", type=whole_number(), help="stop after this many runs")

    def handle(self, *args: Any, handler: str, queue: str, max_jobs: int | None, **options: Any) -> None:
        if queue not in settings.QUEUES:
            known = ", ".join(sorted(settings.QUEUES)) or "none; set SQS_QUEUE_URL"
            raise wrong(f"There is no queue named '{queue}'. Known queues: {known}.")
        try:
            consumer = Consumer(settings.QUEUES[queue], traced(load(handler), queue), max_jobs=max_jobs)
        except InvalidHandler as error:
            raise wrong(str(error)) from error
        drain_on_signals(consumer)
        with command_loops.runs_for_long():
            consumer.run()
