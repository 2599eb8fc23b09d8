from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from opsconsole import switches
from opsconsole.kit import audit, commands, pauses
from opsconsole.kit.command_arguments import refuse_ignored, required_reason, whole_number, wrong
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.models import Pause


class Command(commands.ConsoleCommand):
    help = (
        "Pause or resume recovery, the checks of dead letters or a queue, for example during a deploy. "
        "Without a name, list what is paused. A pause in force is replaced by one that lasts at least as long; a shorter one is "
        "refused, because somebody else may rely on it, unless --shorten says that it is meant."
    )
    examples = (
        'pause recovery --minutes 20 --reason "deploy 1.4"',
        'pause recovery --resume --reason "deploy is done"',
        "pause --json",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "name", nargs="?", help="what to pause: 'recovery', 'dead letter checks', 'queue:default'"
        )
        parser.add_argument(
            "--minutes",
            type=whole_number(most=pauses.LONGEST_MINUTES),
            help="resume automatically after this many minutes; without it, the pause lasts until it is resumed",
        )
        parser.add_argument(
            "--shorten",
            action="store_true",
            help="let the pause end after --minutes also if the one in force lasts longer",
        )
        parser.add_argument("--resume", action="store_true", help="let it go on")
        parser.add_argument("--reason", default="", help="the reason, stored with the change")
        commands.add_operator(parser)
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"]:
            try:
                self._change(options)
            except OpsConsoleError as error:
                raise CommandError(str(error)) from error
        elif options["resume"] or options["shorten"] or options["minutes"] is not None or options["reason"]:
            raise wrong(f"Name what to pause or to resume: {_names()}.")
        held = switches.in_force()
        lines = [switches.sentence(switch, pause) for switch, pause in held] or ["Nothing is paused."]
        self.tell([_as_json(switch, pause) for switch, pause in held], lines, as_json=options["json"])

    def _change(self, options: dict[str, Any]) -> None:
        switch = switches.find(options["name"])
        if switch is None:
            raise wrong(f"'{options['name']}' can't be paused. Choose one of: {_names()}.")
        if options["resume"]:
            refuse_ignored(options, ["minutes", "shorten"], "with --resume: what is resumed goes on at once")
        elif options["minutes"] is None:
            refuse_ignored(options, ["shorten"], "without --minutes: a pause without end shortens nothing")
        by, reason, minutes = options["operator"], required_reason(options["reason"]), options["minutes"]
        lasting = None if minutes is None else timedelta(minutes=minutes)
        # With its line of the audit, or not at all (I10).
        with transaction.atomic():
            if options["resume"]:
                changed = switches.resume(switch, by=by, reason=reason)
            else:
                changed = _begin(switch, by, reason, lasting, shorten=options["shorten"])
            if changed is None:
                raise CommandError(f"'{switch.name}' is not paused: there is nothing to resume.")
            did = switch.did_resume if options["resume"] else switch.did_pause
            audit.log_command(by, [changed], did, why=reason)


def _begin(
    switch: switches.Switch, by: str, reason: str, lasting: timedelta | None, *, shorten: bool
) -> Pause:
    try:
        return switches.pause(switch, by=by, reason=reason, lasting=lasting, shorten=shorten)
    except pauses.WouldEndEarlier as refused:
        raise CommandError(
            f"{refused} To let it end earlier on purpose, add --shorten. Nothing was changed."
        ) from refused


def _names() -> str:
    return ", ".join(f"'{known.name}'" for known in switches.table())


def _as_json(switch: switches.Switch, pause: Pause) -> dict[str, Any]:
    return {
        "name": switch.name,
        "until": pause.until.isoformat() if pause.until else None,
        "by": pause.began_by,
        "reason": pause.reason,
        "sentence": switches.sentence(switch, pause),
    }
