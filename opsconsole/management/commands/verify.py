"""The command that proves an installation end to end."""

from __future__ import annotations

import sys
import textwrap
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from django.db import Error, connection

from opsconsole.kit import audit, commands
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import first_line
from opsconsole.kit.exit_codes import COULD_NOT
from opsconsole.kit.models import Verification
from opsconsole.verification import record, running, table
from opsconsole.verification.check import Wishes
from opsconsole.verification.running import Result

WIDTH = 118


class Command(commands.ConsoleCommand):
    help = (
        "Prove that this installation works: its settings, its database, its store, its queues, its clocks, its alert "
        "channels, and the work that goes on by itself. Prints one line per check, and what to do about it. Jobs, dead letters and "
        "figures of customers stay as they are."
    )
    examples = (
        "verify",
        "verify --json",
        "verify --no-channels --probe-letter",
        "verify --only permissions --only clocks",
    )
    exit_codes: ClassVar = {
        0: "all is well; what was skipped is named",
        1: "something is wrong",
        COULD_NOT: "nothing is wrong, but a check could not be judged; or the settings are refused, and nothing was checked",
    }
    # A check of its own tells what they say, and the others go on.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only",
            action="append",
            choices=table.names(),
            default=[],
            metavar="CHECK",
            help=f"carry out only this check; may be given several times: {', '.join(table.names())}",
        )
        parser.add_argument(
            "--probe-letter",
            action="store_true",
            help="send a marked letter to each dead letter queue and take it out again; an alert may see it for a moment",
        )
        parser.add_argument("--no-channels", action="store_true", help="send no test to the alert channels")
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        wishes = Wishes(
            by=audit.command_actor(""), letter=options["probe_letter"], channels=not options["no_channels"]
        )
        # A page shows the last complete one.
        row = None if options["only"] else self._begin(wishes)
        progress = commands.Progress(sys.stderr)
        results: list[Result] = []
        for check in table.chosen(options["only"]):
            progress.show(f"{check.name}: {check.question}")
            results += running.carry_out([check], wishes)
            progress.clear()
            if not options["json"]:
                self.stdout.write(_as_text(results[-1]))
        if options["json"]:
            self.tell([result.as_json() for result in results], (), as_json=True)
        else:
            self.stdout.write(f"\n{exactly(len(results), 'check')}: {record.verdicts(results)}.")
        if row:
            self._keep(row, results)
        if code := running.exit_code(results):
            sys.exit(code)

    def _begin(self, wishes: Wishes) -> Verification | None:
        try:
            return record.begin(wishes.by)
        except Error as error:
            self.stderr.write(f"The result will not be kept: {first_line(error)}")
            connection.close()
            return None

    def _keep(self, row: Verification, results: list[Result]) -> None:
        try:
            record.keep(row, results, ended=True)
            did = f"Verified the installation: {record.verdicts(results)}."
            audit.log_command("", [row], did, why=audit.NOT_ASKED)
        except Error as error:
            self.stderr.write(f"The result was not kept: {first_line(error)}")
            connection.close()


def _as_text(result: Result) -> str:
    lead = f"{result.verdict:<8} {result.check.name:<14} "
    lines = [lead + result.judgement.sentence]
    if result.judgement.action:
        lines += textwrap.wrap(
            f"-> {result.judgement.action}",
            WIDTH,
            initial_indent=" " * len(lead),
            subsequent_indent=" " * (len(lead) + 3),
        )
    return "\n".join(lines)
