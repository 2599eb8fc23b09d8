"""The command that lists alerts, and acknowledges, snoozes or resolves them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.db.models.functions import Now

from alerts import operator_decisions
from alerts.catalog import RULES
from alerts.models import Alert
from alerts.models.alert import DatedAlert, Severity
from alerts.operator_decisions import PAST_TENSE, Decision
from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import required_reason, row_number, whole_number, wrong
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError

MOST = 100
LONGEST_MINUTES = int(operator_decisions.LONGEST_SNOOZE / timedelta(minutes=1))


class Command(commands.ConsoleCommand):
    help = "List alerts, and acknowledge, snooze or resolve them, as the page Alerts does."
    examples = (
        "alerts list --json",
        "alerts list --severity critical",
        'alerts acknowledge 12 14 --reason "looking at it"',
        'alerts snooze 12 --minutes 60 --reason "the vendor works on it"',
        'alerts resolve 12 --reason "mended by hand"',
    )
    exit_codes: ClassVar = {1: "refused, or at least one of the alerts was not open any more"}

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="list open alerts, newest first; changes nothing")
        listing.add_argument("--all", action="store_true", help="also those that are resolved")
        listing.add_argument("--severity", choices=Severity.values, help="only alerts of this severity")
        listing.add_argument("--rule", help="only alerts of this rule")
        listing.add_argument(
            "--limit", type=whole_number(), default=MOST, help=f"the most alerts to show (default {MOST})"
        )
        commands.add_json(listing)
        for decision in Decision:
            one = actions.add_parser(decision, help=f"{decision} alerts by their numbers")
            one.add_argument(
                "number", nargs="+", type=row_number, help="the number of an alert, as the list shows it"
            )
            if decision == Decision.SNOOZE:
                one.add_argument(
                    "--minutes",
                    type=whole_number(most=LONGEST_MINUTES),
                    required=True,
                    help=f"for how long, at most {LONGEST_MINUTES}",
                )
            one.add_argument("--reason", default="", help="the reason, kept with the alert and in the audit")
            commands.add_operator(one)
            commands.add_json(one)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            self._list(options)
            return
        try:
            self._decide(Decision(options["action"]), options)
        except OpsConsoleError as error:
            raise CommandError(f"{error} Nothing was changed.") from error

    def _list(self, options: dict[str, Any]) -> None:
        alerts = Alert.objects.all() if options["all"] else Alert.objects.open()
        if (
            options["rule"]
            and options["rule"] not in RULES
            and not alerts.filter(rule=options["rule"]).exists()
        ):
            known = ", ".join(sorted(RULES))
            raise wrong(f"There is no rule '{options['rule']}'. Rules: {known}.")
        wanted = {name: options[name] for name in ("severity", "rule") if options[name]}
        rows = list(alerts.filter(**wanted).annotate(db_now=Now())[: options["limit"] + 1])
        shown = rows[: options["limit"]]
        lines = [_as_line(alert) for alert in shown] or ["No alert."]
        if len(rows) > len(shown):
            lines.append(f"The newest {len(shown):,}; there are more (--limit).")
        self.tell([_as_json(alert) for alert in shown], lines, as_json=options["json"])

    def _decide(self, decision: Decision, options: dict[str, Any]) -> None:
        if decision == Decision.RESOLVE:
            required_reason(options["reason"], operator_decisions.KEPT)
        numbers, by, reason = list(dict.fromkeys(options["number"])), options["operator"], options["reason"]
        with transaction.atomic():
            until = _end(options["minutes"]) if decision == Decision.SNOOZE else None
            changed = [pk for pk in numbers if operator_decisions.carry_out(decision, pk, by, reason, until)]
            rows = Alert.objects.filter(pk__in=changed)
            audit.log_command(by, rows, operator_decisions.did(decision, until), why=reason)
        left = [pk for pk in numbers if pk not in changed]
        lines = [f"{exactly(len(changed), 'alert')} {PAST_TENSE[decision]}."]
        self.tell({PAST_TENSE[decision]: changed, "not_open": left}, lines, as_json=options["json"])
        if left:
            raise CommandError(f"Not open, and not changed: {', '.join(map(str, left))}.")


def _end(minutes: int) -> datetime:
    # The database's clock, by which the snooze ends.
    now: datetime | None = Alert.objects.values_list(Now(), flat=True).first()
    if now is None:
        raise CommandError("There is no alert. Nothing was changed.")
    return now + timedelta(minutes=minutes)


def _as_line(alert: DatedAlert) -> str:
    handled = f", {alert.state} by {alert.handled_by}" if alert.handled_by else ""
    now = (
        ", its value can't be read" if alert.unknown_since else ", no longer so" if alert.clear_since else ""
    )
    age = spell(alert.db_now - alert.since)
    return f"{alert.pk:>6}  {alert.severity:<8}  {alert.state:<12}  {age:>12}  {alert.title}{handled}{now}"


def _as_json(alert: DatedAlert) -> dict[str, Any]:
    def iso(time: datetime | None) -> str | None:
        return time.isoformat() if time else None

    return {
        "number": alert.pk,
        "fingerprint": alert.fingerprint,
        "rule": alert.rule,
        "severity": alert.severity,
        "state": alert.state,
        "title": alert.title,
        "summary": alert.summary,
        "value": alert.value,
        "threshold": alert.threshold,
        "since": iso(alert.since),
        "last_seen_at": iso(alert.last_seen_at),
        "unknown_since": iso(alert.unknown_since),
        "clear_since": iso(alert.clear_since),
        "snoozed_until": iso(alert.snoozed_until),
        "resolved_at": iso(alert.resolved_at),
        "handled_by": alert.handled_by,
        "handled_reason": alert.handled_reason,
        "link": alert.link,
    }
