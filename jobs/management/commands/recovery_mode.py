"""The command that shows or changes the mode of recovery."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive

from jobs.models import RecoveryControl
from jobs.recovery import control, outlook, outlook_wording, recovery_alerts, surroundings
from jobs.restores import fencing, signs, suspects
from jobs.runs import status_wording, worker_kinds
from jobs.runs.timeline import Actor
from opsconsole.kit import actors, audit, commands, job_ids
from opsconsole.kit.command_arguments import required_reason, wrong
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.models import Restore
    from jobs.recovery.outlook import Prospect
    from jobs.restores.fencing import Fencing
    from jobs.restores.suspects import Suspicion

# The whole list is in --json.
SHOWN = 100
UnknownRule = RecoveryControl.UnknownRule


class Command(commands.ConsoleCommand):
    help = "Show or change the mode of recovery: whether stale runs are recovered automatically."
    examples = (
        "recovery_mode show --json",
        'recovery_mode arm --cutoff now --reason "workers were checked"',
        'recovery_mode observe --reason "the plan\'s rollback"',
        'recovery_mode restored --completed done.txt --reason "restored the backup of 03:00"',
    )
    exit_codes: ClassVar = {
        1: "refused, or (restored) some jobs are not fenced yet: locked by others, or kept by a trigger or policy"
    }

    def add_arguments(self, parser: CommandParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        show = steps.add_parser("show", help="show the mode, the cutoff and who set them")
        commands.add_json(show)
        changes = [
            _add_arm(steps),
            steps.add_parser("observe", help="recover nothing and only show what would be done"),
            steps.add_parser(
                "release-hold", help="release the hold, so that many stale runs are recovered now"
            ),
            _add_restored(steps),
            steps.add_parser(
                "not-restored", help="nothing was lost: forget the signs of a restore or failover"
            ),
            _add_unknown_runs(steps),
        ]
        for change in changes:
            change.add_argument("--reason", required=True, help="the reason, kept with the change")
            commands.add_operator(change)
            commands.add_json(change)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["step"] != "show":
            options["reason"] = required_reason(options["reason"])
        try:
            if options["step"] == "restored":
                self._restored(options)
                return
            if options["step"] != "show":
                _require_fitting(options)
                # With its line of the audit, or not at all (I10).
                with transaction.atomic():
                    self._change(options)
                    recovery_alerts.retell()
                    _log(options)
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        state = RecoveryControl.load()
        prospect = outlook.of_sweeps(surroundings.read())
        self.tell(_as_json(state, prospect), [_as_text(state, prospect)], as_json=options["json"])

    def _restored(self, options: dict[str, Any]) -> None:
        fenced = fencing.restored(
            Actor.operator(options["operator"], None),
            options["reason"],
            completed=_ids(options["completed"]) if options["completed"] else (),
            again=options["again"],
            record=partial(_log, options),
        )
        suspicion = suspects.of(fenced.restore)
        answer = suspects.as_json(fenced.restore, suspicion) | {"locked": fenced.locked}
        self.tell(answer, _restore_as_text(fenced, suspicion), as_json=options["json"])
        if fenced.locked:
            sys.exit(1)

    def _change(self, options: dict[str, Any]) -> None:
        actor, reason = Actor.operator(options["operator"], None), options["reason"]
        if options["step"] == "arm":
            control.arm(actor, reason, _cutoff(options["cutoff"]))
        elif options["step"] == "observe":
            control.disarm(actor, reason)
        elif options["step"] == "not-restored":
            if not fencing.not_restored(actor, reason):
                raise CommandError("There is no sign of a restore. Nothing was changed.")
        elif options["step"] == "unknown-runs":
            _choose_rule(actor, reason, options["rule"], options["hours"])
        elif not control.release_hold(actor, reason):
            raise CommandError("There is no hold to release. Nothing was changed.")


def _add_arm(steps: Any) -> CommandParser:
    arm: CommandParser = steps.add_parser("arm", help="recover stale runs automatically")
    arm.add_argument(
        "--cutoff",
        required=True,
        help="older runs are only recovered by hand: 'now', 'all' (no cutoff) or a time such as 2026-01-31T08:00:00Z",
    )
    return arm


def _add_restored(steps: Any) -> CommandParser:
    restored: CommandParser = steps.add_parser(
        "restored",
        help="after a restore or failover: refuse everything that ran before, send waiting jobs again, only observe",
    )
    restored.add_argument(
        "--completed",
        type=Path,
        metavar="FILE",
        help="ids of jobs that were completed after the backup, one per line; they are completed and not sent again",
    )
    restored.add_argument(
        "--again", action="store_true", help="fence once more, even if no new restore was noticed"
    )
    return restored


def _add_unknown_runs(steps: Any) -> CommandParser:
    unknown: CommandParser = steps.add_parser(
        "unknown-runs", help="choose what becomes of silent runs without evidence that their worker died"
    )
    unknown.add_argument(
        "--rule",
        required=True,
        choices=UnknownRule.values,
        help="never: operators decide; after: recover them after --hours; visibility: after their queue's visibility timeout",
    )
    unknown.add_argument("--hours", type=_hours, help="with --rule after: the hours of silence")
    return unknown


def _log(options: dict[str, Any]) -> None:
    did = f"recovery_mode {options['step']}."
    audit.log_command(options["operator"], [RecoveryControl.load()], did, why=options["reason"])


def _require_fitting(options: dict[str, Any]) -> None:
    """Refuse arguments that fit no change, before the database is asked."""
    if options["step"] == "arm" and options["cutoff"] not in {"all", "now"}:
        _moment(options["cutoff"])
    if options["step"] == "unknown-runs" and (options["rule"] == UnknownRule.AFTER) != (
        options["hours"] is not None
    ):
        raise wrong("--hours goes with --rule after, and with no other.")


def _choose_rule(actor: Actor, reason: str, rule: str, hours: timedelta | None) -> None:
    if rule == UnknownRule.NEVER:
        control.leave_unknown_runs(actor, reason)
    else:
        control.give_up_unknown_runs(actor, reason, after=hours)


def _hours(text: str) -> timedelta:
    try:
        return control.hours(float(text))
    except (ValueError, control.ControlRefused) as error:
        raise ArgumentTypeError("give a number of hours") from error


def _cutoff(text: str) -> datetime | None:
    if text == "all":
        return None
    if text == "now":
        return control.database_now()
    return _moment(text)


def _moment(text: str) -> datetime:
    try:
        time = parse_datetime(text)
    except ValueError:
        time = None
    if time is None or is_naive(time):
        raise wrong(
            f"--cutoff '{text}' is not 'now', 'all' or a time with a time zone, such as 2026-01-31T08:00:00Z."
        )
    return time


def _ids(file: Path) -> set[UUID]:
    """Return the ids in the file. Raise ``CommandError`` before anything is changed when a line is no id."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"{file} can't be read: {error}.") from error
    ids = set()
    # Ids that are texts may have blanks within.
    for line in filter(None, map(str.strip, lines)):
        job_id = job_ids.parse(line)
        if job_id is None:
            raise wrong(f"{file} has a line that is no job id: {line}.")
        ids.add(job_id)
    return ids


def _restore_as_text(fenced: Fencing, suspicion: Suspicion) -> list[str]:
    restore = fenced.restore
    lines = [_what_was_done(restore, begun=fenced.begun)]
    lines += [f"Noticed: {sign}" for sign in restore.signs]
    ended = f"{restore.fenced_ended:,} failed, quarantined or cancelled"
    lines += [
        f"Fenced: {restore.fenced_running:,} running, {restore.fenced_waiting:,} waiting (sent again), {ended}.",
        f"Completed, because you said so: {fenced.told_completed:,} now, {restore.told_completed:,} in all.",
    ]
    if fenced.locked:
        lines.append(
            f"{exactly(fenced.locked, 'job')} not fenced or completed: locked by other transactions, or kept from being "
            "changed by a trigger or policy of yours. Run the command again, with the same file if you gave one."
        )
    lines += [each.sentence for each in suspicion.queues]
    if not suspicion.jobs:
        return [*lines, "No job is known that may have been completed after the backup."]
    lines.append(f"May have been completed after the backup ({len(suspicion.jobs):,}):")
    lines += [
        f"  {each.job_id} ({status_wording.within_sentence(each.status)}): {each.sentence}"
        for each in suspicion.jobs[:SHOWN]
    ]
    if len(suspicion.jobs) > SHOWN:
        lines.append(f"  and {len(suspicion.jobs) - SHOWN:,} more; --json prints all of them.")
    return lines


def _what_was_done(restore: Restore, *, begun: bool) -> str:
    if begun and restore.finished_at:
        return f"Everything that ran before is fenced: new runs begin at {restore.fence}. Recovery only observes."
    if restore.finished_at:
        return (
            f"Everything was fenced at {restore.finished_at.isoformat()} by {actors.in_words(restore.actor)}: {restore.reason} "
            "No new sign of a restore was noticed since. To fence once more, add --again."
        )
    return "The fencing is not complete."


def _as_json(state: RecoveryControl, prospect: Prospect) -> dict[str, Any]:
    return {
        "armed": state.armed,
        "cutoff": state.cutoff.isoformat() if state.cutoff else None,
        "unknown_runs": outlook_wording.of_unknown_rule(state),
        "when": prospect.when,
        "sentence": prospect.sentence,
        "changed_by": state.changed_by,
        "changed_at": state.changed_at.isoformat() if state.changed_at else None,
        "reason": state.reason,
    }


def _as_text(state: RecoveryControl, prospect: Prospect) -> str:
    lines = [prospect.headline, prospect.sentence] if state.armed else [prospect.sentence]
    if state.armed:
        lines.append(
            f"Runs that began before {state.cutoff.isoformat()} are only recovered by hand."
            if state.cutoff
            else "There is no cutoff: runs of any age are recovered."
        )
    lines.append(outlook_wording.of_unknown_rule(state))
    lines += filter(None, [outlook_wording.of_queues_by_hand(settings.OPSCONSOLE_RECOVERY_BY_HAND)])
    lines += [f"{trait.subject}: {trait.sentence}" for trait in worker_kinds.traits()]
    lines += [f"Noticed: {sign} Run: {signs.COMMAND}" for sign in signs.kept()]
    if state.changed_at:
        lines.append(
            f"Set by {actors.in_words(state.changed_by)} at {state.changed_at.isoformat()}: {state.reason}"
        )
    return "\n".join(lines)
