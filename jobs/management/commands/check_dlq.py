"""The command that checks the dead letter queues, once or in a loop."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError

from jobs.dead_letters.check import CheckedQueue, check
from opsconsole.kit import command_loops, commands, intervals
from opsconsole.kit.command_arguments import could_not, refuse_ignored
from opsconsole.kit.exit_codes import COULD_NOT


class Command(commands.ConsoleCommand):
    help = "Scan every dead letter queue, store its messages, and raise or resolve its alerts."
    examples = ("check_dlq", "check_dlq --json", "check_dlq --loop --interval 60")
    exit_codes: ClassVar = {
        0: "all queues are empty",
        1: "there are dead letters",
        COULD_NOT: "no dead letters were found, but a queue was not read or none is configured; or nothing could be checked",
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands.add_json(parser)
        parser.add_argument("--loop", action="store_true", help="check until stopped by SIGTERM or SIGINT")
        parser.add_argument(
            "--interval",
            type=float,
            help="seconds between the checks of --loop (default: OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)",
        )

    def handle(self, *args: Any, loop: bool, interval: float | None, **options: Any) -> None:
        commands.refuse_json_in_loop(as_json=options["json"], loop=loop)
        if not loop:
            refuse_ignored({"interval": interval}, ["interval"], "without --loop")
        if interval is None:
            interval = intervals.of_dead_letter_checks().seconds
        commands.refuse_odd_interval(interval)
        if loop:
            command_loops.repeat(
                lambda: self._say(check(timedelta(seconds=interval))),
                interval,
                lambda sentence: commands.say(self, sentence),
            )
        else:
            self._once(as_json=options["json"])

    def _once(self, *, as_json: bool) -> None:
        checked = check()
        if not checked:
            raise could_not("No dead letter queue is configured: set SQS_DLQ_URL or OPSCONSOLE_QUEUES.")
        if as_json:
            self.tell([_as_json(each) for each in checked], (), as_json=True)
        else:
            self._say(checked)
        if any(each.visited.depth for each in checked):
            raise CommandError("There are dead letters.")
        if unread := [
            str(each.dlq) for each in checked if each.visited.problem or each.visited.depth is None
        ]:
            raise could_not(
                f"Whether there are dead letters is unknown, because these queues were not read: {', '.join(unread)}."
            )

    def _say(self, checked: list[CheckedQueue]) -> None:
        for each in checked:
            commands.say(self, str(each))


def _as_json(each: CheckedQueue) -> dict[str, Any]:
    """Return one queue; ``dead_letters`` is null where nobody could read how many there are."""
    return {
        "queue": str(each.dlq),
        "dead_letters": each.visited.depth,
        "new": each.new,
        "problem": each.visited.problem or None,
        "sentence": str(each),
    }
