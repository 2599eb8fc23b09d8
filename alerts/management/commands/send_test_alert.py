"""Send a test message to one channel or all channels, and print the answers."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandError

from alerts.channels import no_channel
from alerts.channels.targets import all_targets
from alerts.models import Channel
from alerts.sending import channel_trial
from opsconsole.kit import audit, commands
from opsconsole.kit.errors import OpsConsoleError


class Command(commands.ConsoleCommand):
    help = "Send a test message to one alert channel or to all of them, and print what each of them answered."
    examples = ("send_test_alert", "send_test_alert --channel slack --json")
    exit_codes: ClassVar = {1: "at least one channel did not accept the message, or none is configured"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--channel", help="the name of a channel (default: all)")
        commands.add_json(parser)

    def handle(self, *_args: Any, channel: str | None, **options: Any) -> None:
        names = [channel] if channel else list(all_targets())
        if not names:
            raise CommandError(f"No channel is configured. {no_channel.ADVICE}")
        try:
            tried = channel_trial.send_to(names, audit.system_user())
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        audit.log_command("", Channel.objects.filter(pk__in=names), "Test sent.", why=audit.NOT_ASKED)
        lines = [f"{each.channel}: {each.answer}" for each in tried]
        self.tell([asdict(each) for each in tried], lines, as_json=options["json"])
        failed = [each.channel for each in tried if not each.delivered]
        if failed:
            raise CommandError(f"The test was not delivered to {', '.join(failed)}.")
