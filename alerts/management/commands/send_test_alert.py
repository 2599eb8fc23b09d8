"""Send a test message to one channel or all channels, and print the answers."""

from __future__ import annotations

import getpass
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts.channels.targets import all_targets
from alerts.models import Channel, Delivery
from alerts.sending import channel_test, delivery
from opsconsole.kit import audit
from opsconsole.kit.errors import OpsConsoleError

MAX_WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.5


class Command(BaseCommand):
    help = "Send a test message to one alert channel or to all of them, and print what each of them answered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--channel", help="the name of a channel (default: all)")

    def handle(self, *_args: Any, channel: str | None, **_options: Any) -> None:
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
        failed = [name for name, row in zip(names, deliveries, strict=True) if not self._report(name, row)]
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

    def _report(self, name: str, row: Delivery) -> bool:
        row.refresh_from_db()
        attempt = row.attempts.last()
        self.stdout.write(f"{name}: {attempt or 'not attempted yet; the test waits for its channel'}")
        return row.state == Delivery.State.SENT


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a command"
