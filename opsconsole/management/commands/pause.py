from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsconsole import switches
from opsconsole.kit import audit, commands, pauses
from opsconsole.kit.errors import OpsConsoleError


class Command(BaseCommand):
    help = "Pause or resume recovery, the checks of dead letters or a queue, for example during a deploy."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "name", nargs="?", help="what to pause: 'recovery', 'dead letter checks', 'queue:default'"
        )
        parser.add_argument(
            "--minutes",
            type=int,
            help="resume automatically after this many minutes; without it, the pause lasts until it is resumed",
        )
        parser.add_argument("--resume", action="store_true", help="let it go on")
        parser.add_argument("--reason", default="", help="the reason, stored with the change")
        commands.add_operator(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"]:
            try:
                self._change(options)
            except OpsConsoleError as error:
                raise CommandError(str(error)) from error
        for switch, pause in switches.in_force():
            self.stdout.write(switches.sentence(switch, pause))
        if not switches.in_force():
            self.stdout.write("Nothing is paused.")

    def _change(self, options: dict[str, Any]) -> None:
        switch = switches.find(options["name"])
        if switch is None:
            names = ", ".join(f"'{known.name}'" for known in switches.table())
            raise CommandError(f"'{options['name']}' can't be paused. Choose one of: {names}.")
        by, reason, minutes = options["operator"], options["reason"], options["minutes"]
        if not options["resume"]:
            lasting = None if minutes is None else timedelta(minutes=minutes)
            pause = pauses.begin(switch.name, by=by, reason=reason, lasting=lasting)
            audit.log_command(by, [pause], f"{switch.paused}.", why=reason)
            return
        ended = pauses.end(switch.name, by=by, reason=reason)
        if ended is None:
            raise CommandError(f"'{switch.name}' is not paused: there is nothing to resume.")
        audit.log_command(by, [ended], f"{switch.title}: resumed.", why=reason)
