"""The command that lists the channels of alerts, and sends test messages to them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.management import call_command
from django.core.management.base import CommandParser

from alerts.channels.targets import all_targets
from alerts.models import Channel
from alerts.sending import addressing, channel_state
from opsconsole.kit import commands


class Command(commands.ConsoleCommand):
    help = "List the channels of alerts with their state and last answer, or send a test message to them."
    examples = ("channels list", "channels list --json", "channels test slack")
    exit_codes: ClassVar = {
        1: "(test) at least one channel did not accept the message, or none is configured"
    }

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        commands.add_json(actions.add_parser("list", help="list the channels; changes nothing"))
        test = actions.add_parser("test", help="send a test message, as send_test_alert does")
        test.add_argument("name", nargs="?", help="the name of a channel (default: all)")
        commands.add_json(test)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "test":
            call_command("send_test_alert", channel=options["name"], json=options["json"], stdout=self.stdout)
            return
        addressing.create_missing_channels()
        targets = all_targets()
        rows = list(Channel.objects.all())
        lines = [_as_line(row, targets) for row in rows]
        lines = lines or ["No channel is configured. Set SLACK_WEBHOOK_URL or OPSCONSOLE_ALERT_CHANNELS."]
        self.tell([_as_json(row, targets) for row in rows], lines, as_json=options["json"])


def _as_line(row: Channel, targets: dict[str, Any]) -> str:
    target = targets.get(row.pk)
    state = channel_state.of(row, target).label
    last = f"; last answer: {row.last_answer}" if row.last_answer else ""
    return f"{row.pk} ({channel_state.kind(target)}): {state}{last}"


def _as_json(row: Channel, targets: dict[str, Any]) -> dict[str, Any]:
    target = targets.get(row.pk)
    return {
        "name": row.pk,
        "kind": target.kind if target else None,
        "fallback": bool(target and target.is_fallback),
        "state": channel_state.of(row, target),
        "failures": row.failures,
        "last_ok_at": row.last_ok_at.isoformat() if row.last_ok_at else None,
        "last_answer": row.last_answer,
    }
