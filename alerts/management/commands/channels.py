"""The command that lists the channels of alerts, routes them, and sends test messages to them."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from typing import Any, ClassVar

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from alerts import channel_settings
from alerts.catalog import RULES
from alerts.channel_settings import Route
from alerts.channels import no_channel
from alerts.channels.targets import all_targets
from alerts.models import Channel
from alerts.models.alert import Severity
from alerts.sending import addressing, channel_state, routing
from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import required_reason, wrong
from opsconsole.kit.errors import OpsConsoleError


class Command(commands.ConsoleCommand):
    help = "List the channels of alerts with their state and last answer, say what one is told, or send a test message."
    examples = (
        "channels list",
        "channels list --json",
        "channels test slack",
        'channels route pager --severity critical --queue slow --hours 22-6 --reason "on call at night"',
    )
    exit_codes: ClassVar = {
        1: "(test) at least one channel did not accept the message, or none is configured; (route) refused"
    }

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        commands.add_json(actions.add_parser("list", help="list the channels; changes nothing"))
        test = actions.add_parser("test", help="send a test message, as send_test_alert does")
        test.add_argument("name", nargs="?", help="the name of a channel (default: all)")
        commands.add_json(test)
        route = actions.add_parser(
            "route", help="say what a channel is told; what is left out is not restricted"
        )
        route.add_argument("name", help="the name of a channel")
        route.add_argument(
            "--severity", choices=Severity.values, default=Severity.INFO, help="from this one on"
        )
        route.add_argument(
            "--rule", action="append", default=[], choices=sorted(RULES), help="only of this rule"
        )
        route.add_argument("--queue", action="append", default=[], help="only about this queue")
        route.add_argument(
            "--hours", type=_hours, default=(None, None), help="only at these hours (UTC), as 22-6"
        )
        route.add_argument("--reason", required=True, help="the reason, kept in the audit")
        commands.add_operator(route)
        commands.add_json(route)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "test":
            call_command("send_test_alert", channel=options["name"], json=options["json"], stdout=self.stdout)
            return
        addressing.create_missing_channels()
        if options["action"] == "route":
            self._route(options)
            return
        targets = all_targets()
        rows = list(Channel.objects.all())
        lines = [_as_line(row, targets) for row in rows]
        lines = lines or [f"No channel is configured. {no_channel.ADVICE}"]
        self.tell([_as_json(row, targets) for row in rows], lines, as_json=options["json"])

    def _route(self, options: dict[str, Any]) -> None:
        if unknown := sorted(set(options["queue"]) - set(settings.QUEUES)):
            known = ", ".join(sorted(settings.QUEUES)) or "none"
            raise wrong(f"There is no queue '{unknown[0]}'. Known queues: {known}.")
        required_reason(options["reason"])
        begin, end = options["hours"]
        route = Route(options["severity"], options["rule"], begin, end, options["queue"])
        try:
            with transaction.atomic():
                channel = channel_settings.change(options["name"], route, options["reason"])
                route_in_words = routing.in_words(channel)
                audit.log_command(
                    options["operator"],
                    [channel],
                    channel_settings.DID_CHANGE,
                    why=options["reason"],
                    result=route_in_words,
                )
        except OpsConsoleError as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        self.tell(
            {"name": channel.pk, "told": route_in_words},
            [f"{channel.pk} is told: {route_in_words}."],
            as_json=options["json"],
        )


def _hours(text: str) -> tuple[int, int]:
    """Read a span of hours, such as 22-6."""
    found = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
    if not found or not all(int(hour) < 24 for hour in found.groups()):
        raise ArgumentTypeError("give two hours from 0 to 23, such as 22-6")
    return int(found[1]), int(found[2])


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
        "told": routing.in_words(row),
        "failures": row.failures,
        "last_ok_at": row.last_ok_at.isoformat() if row.last_ok_at else None,
        "last_answer": row.last_answer,
    }
