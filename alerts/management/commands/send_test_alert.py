"""Try the channels: send a test to one, or to all, and say what each answered."""

from __future__ import annotations

import getpass
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts.channels.configured import configured
from alerts.models import Delivery
from alerts.sending import delivery, trial
from opsconsole.kit.errors import OpsConsoleError

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.5


class Command(BaseCommand):
    help = "Send a test message to one alert channel, or to all of them, and say what each answered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--channel", help="the name of a channel (default: all)")

    def handle(self, *_args: Any, channel: str | None, **_options: Any) -> None:
        names = [channel] if channel else list(configured())
        if not names:
            raise CommandError(
                "No channel is configured: set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS."
            )
        try:
            sent = [trial.send(name, _who()) for name in names]
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        self._deliver(sent)
        failed = [name for name, row in zip(names, sent, strict=True) if not self._report(name, row)]
        if failed:
            raise CommandError(f"Not delivered: {', '.join(failed)}.")

    def _deliver(self, sent: list[Delivery]) -> None:
        """Until each was tried; what else waits for the channels goes along."""
        untried = Delivery.objects.filter(pk__in=[row.pk for row in sent], attempts=None)
        stop_at = time.monotonic() + PATIENCE_SECONDS
        delivery.deliver()
        while untried.exists() and time.monotonic() < stop_at:
            time.sleep(PAUSE_SECONDS)
            delivery.deliver()

    def _report(self, name: str, row: Delivery) -> bool:
        row.refresh_from_db()
        attempt = row.attempts.last()
        self.stdout.write(f"{name}: {attempt or 'not tried yet: it waits for its channel'}")
        return row.state == Delivery.State.SENT


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "a command"
