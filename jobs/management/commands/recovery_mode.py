"""The command that shows or changes the mode of recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive

from jobs.models import RecoveryControl
from jobs.recovery import control, outlook, surroundings
from jobs.runs.timeline import Actor
from opsconsole.kit import commands
from opsconsole.kit.errors import OpsConsoleError

if TYPE_CHECKING:
    from datetime import datetime


class Command(BaseCommand):
    help = "Show or change the mode of recovery: whether stale runs are recovered automatically."

    def add_arguments(self, parser: CommandParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        steps.add_parser("show", help="show the mode, the cutoff and who set them")
        arm = steps.add_parser("arm", help="recover stale runs automatically")
        arm.add_argument(
            "--cutoff",
            required=True,
            help="older runs are only recovered by hand: 'now', 'all' (no cutoff) or a time such as 2026-01-31T08:00:00Z",
        )
        changes = [
            arm,
            steps.add_parser("observe", help="recover nothing and only show what would be done"),
            steps.add_parser(
                "release-hold", help="release the hold, so that many stale runs are recovered now"
            ),
        ]
        for change in changes:
            change.add_argument("--reason", required=True, help="the reason, kept with the change")
            commands.add_operator(change)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["step"] != "show":
            try:
                self._change(options)
            except OpsConsoleError as error:
                raise CommandError(str(error)) from error
        self.stdout.write(_as_text(RecoveryControl.load()))

    def _change(self, options: dict[str, Any]) -> None:
        actor, reason = Actor.operator(options["operator"], None), options["reason"]
        if options["step"] == "arm":
            control.arm(actor, reason, _cutoff(options["cutoff"]))
        elif options["step"] == "observe":
            control.disarm(actor, reason)
        elif not control.release_hold(actor, reason):
            raise CommandError("There is no hold to release. Nothing was changed.")


def _cutoff(text: str) -> datetime | None:
    if text == "all":
        return None
    if text == "now":
        return _database_now()
    try:
        time = parse_datetime(text)
    except ValueError as error:
        raise CommandError(f"--cutoff {text} is not a time: {error}. Nothing was changed.") from error
    if time is None or is_naive(time):
        raise CommandError(
            f"--cutoff {text} is not 'now', 'all' or a time with a time zone, such as 2026-01-31T08:00:00Z. Nothing was changed."
        )
    return time


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def _as_text(state: RecoveryControl) -> str:
    prospect = outlook.of_sweeps(surroundings.read())
    lines = [prospect.headline, prospect.sentence] if state.armed else [prospect.sentence]
    if state.armed:
        lines.append(
            f"Runs that began before {state.cutoff.isoformat()} are only recovered by hand."
            if state.cutoff
            else "There is no cutoff: runs of any age are recovered."
        )
    if state.changed_at:
        lines.append(f"Set by {state.changed_by} at {state.changed_at.isoformat()}: {state.reason}")
    return "\n".join(lines)
