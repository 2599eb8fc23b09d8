"""Send a test message to one channel or all channels, and print the answers."""

from __future__ import annotations

import getpass
import time
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management.base import CommandError

from alerts.channels.targets import all_targets
from alerts.models import Channel, Delivery
from alerts.sending import channel_test, delivery
from opsconsole.kit import audit, commands
from opsconsole.kit.errors import OpsConsoleError

MAX_WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.5


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
            raise CommandError(
                "No channel is configured. Set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS."
            )
        try:
            deliveries = [channel_test.send(name, _user()) for name in names]
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        audit.log_command("", Channel.objects.filter(pk__in=names), "Test sent.", why=audit.NOT_ASKED)
        self._deliver(deliveries)
        told = [_told(name, row) for name, row in zip(names, deliveries, strict=True)]
        lines = [f"{each['channel']}: {each['answer']}" for each in told]
        self.tell(told, lines, as_json=options["json"])
        failed = [str(each["channel"]) for each in told if not each["delivered"]]
        if failed:
            raise CommandError(f"The test was not delivered to {', '.join(failed)}.")

    def _deliver(self, deliveries: list[Delivery]) -> None:
        """Deliver until each test was attempted. Other waiting notifications are sent as well."""
        untried = Delivery.objects.filter(pk__in=[row.pk for row in deliveries], attempts=None)
        stop_at = time.monotonic() + MAX_WAIT_SECONDS
        delivery.deliver()
        while untried.exists() and time.monotonic() < stop_at:
            time.sleep(PAUSE_SECONDS)
            delivery.deliver()


def _told(name: str, row: Delivery) -> dict[str, object]:
    row.refresh_from_db()
    answer = str(row.attempts.last() or "not attempted yet; the test waits for its channel")
    return {"channel": name, "delivered": row.state == Delivery.State.SENT, "answer": answer}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a command"
