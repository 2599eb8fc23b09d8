"""The command that verifies the seals of the audit, the timeline, and the ledgers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from django.db.models import Max

from jobs.models import JobEvent
from opsconsole.kit import audit, commands
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.command_arguments import could_not, refuse_ignored, whole_number, wrong
from opsconsole.kit.counting import exactly
from opsconsole.seals import checking, exported, verification
from opsconsole.seals.chain import Seal
from opsconsole.seals.report import Report

LARGEST_ID = 2**63 - 1
# As the dead man's switch sends it: 'seal 812:<hash>'.
_ANCHOR = re.compile(r"\s*(?:seal\s+)?((?:[0-9]{1,18}:)?[0-9a-f]{64}|)\s*", re.IGNORECASE | re.ASCII)


class Command(commands.ConsoleCommand):
    help = (
        "Verify that the audit, the timeline, and the ledgers of bulk operations and dead letters still hold what was sealed, "
        "and that the chain of seals is whole. "
        "Changes no row of them."
    )
    examples = (
        "verify_audit",
        "verify_audit --anchor 812:HASH --json",
        "verify_audit --folder exported/",
    )
    patience_seconds = commands.LONG_STATEMENT_SECONDS
    exit_codes: ClassVar = {1: "something does not match"}

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        parser.add_argument(
            "--anchor",
            metavar="HASH",
            help="the hash of a seal that was kept elsewhere, 64 hex digits, with or without its number before it ('812:ab12...')",
        )
        parser.add_argument(
            "--events-from",
            type=whole_number(0, most=LARGEST_ID),
            metavar="ID",
            help="do not compare events below this id, whose month was dropped on purpose; the checks of each minute, "
            "and check --deploy, leave them out from now on, and the audit says so",
        )

        parser.add_argument(
            "--folder",
            type=Path,
            help="verify what uninstall --export wrote to this folder; the database is not asked",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        anchor = _anchor(options["anchor"] or "")
        if options["folder"]:
            refuse_ignored(options, ["events_from"], "with --folder")
            self._tell(_exported(options["folder"], anchor), as_json=options["json"])
            return
        events_from = options["events_from"] or 0
        _refuse_future(events_from)
        report = verification.verify(anchor=anchor, events_from=events_from)
        checking.record(report)
        if report.events_from:
            audit.log_without_user(
                audit.command_actor(""),
                f"Left events below {report.events_from:,} out of the checks of seals, as dropped on purpose.",
                why=audit.NOT_ASKED,
            )
        self._tell(report, as_json=options["json"])

    def _tell(self, report: Report, *, as_json: bool) -> None:
        self.stdout.write(_as_json(report) if as_json else _as_text(report))
        if report.break_count:
            sys.exit(1)


def _refuse_future(event: int) -> None:
    """Refuse an event that does not exist yet: nothing that is written until then would ever be compared."""
    if not event:
        return
    sealed = AuditSeal.objects.filter(source=AuditSeal.Source.TIMELINE).aggregate(newest=Max("last_id"))
    written = JobEvent.objects.aggregate(newest=Max("pk"))
    newest = max(sealed["newest"] or 0, written["newest"] or 0)
    if event > newest + 1:
        raise wrong(f"There is no event {event:,} yet; the newest is {newest:,}.")


def _anchor(text: str) -> str:
    """Return the anchor without what may stand before it where it was kept. A mistyped one must not look like a broken audit."""
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise wrong(
            "--anchor is a number, a colon and the 64 digits (0-9, a-f) of a hash, or the hash alone."
        )
    return found[1]


def _exported(folder: Path, anchor: str) -> Report:
    try:
        return exported.verify(folder, anchor=anchor)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise could_not(f"{folder} holds no whole export: {error}.") from error


def _as_json(report: Report) -> str:
    newest = report.newest
    content = {
        "intact": not report.break_count,
        "seals": report.seals,
        "rows": report.rows,
        "events_from": report.events_from,
        "dropped_by_retention": report.dropped,
        "newest": {"number": newest.number, "hash": newest.hash, "sealed_at": f"{newest.sealed_at}Z"}
        if newest
        else None,
        "break_count": report.break_count,
        "breaks": [each._asdict() for each in report.breaks],
    }
    return json.dumps(content, indent=2)


def _as_text(report: Report) -> str:
    lines = [each.sentence for each in report.breaks]
    if len(lines) < report.break_count:
        lines.append(f"And {report.break_count - len(lines):,} more.")
    lines.append(f"{exactly(report.seals, 'seal')} and {exactly(report.rows, 'row')} were read.")
    if report.dropped:
        lines.append(
            f"{exactly(report.dropped, 'row')} of the seals were dropped by retention, as its records say."
        )
    if report.events_from:
        lines.append(
            f"Seals that reach below event {report.events_from:,} were not compared with their rows."
        )
    if report.newest:
        lines.append(_newest(report.newest))
    lines.append(
        f"{exactly(report.break_count, 'break')}: docs/runbooks/audit-broken.md says what to do."
        if report.break_count
        else "Everything that was sealed is as it was."
    )
    return "\n".join(lines)


def _newest(newest: Seal) -> str:
    return f"The newest seal is {newest.number}:{newest.hash}, of {newest.sealed_at[:19]} UTC."
