"""The command that reports whether the console fits a database."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from django.db import OperationalError

from jobs.inspection import Finding, blockers, inspect_database
from jobs.inspection.proof import prove
from jobs.inspection.proposal import Proposal, propose_mapping, render, unsupported
from opsconsole.kit import commands, locked_tables, schema_version
from opsconsole.kit.command_arguments import could_not, refuse_ignored
from opsconsole.kit.database_troubles import Trouble, trouble_behind

WAITED = (
    "A statement was cancelled because it waited too long. Nothing was changed: run this command again later."
)

HEADING = """\
# Proposed by inspect_database --propose, which changes nothing. Left the console's name, right yours; false: you have none.
# columns: yours for each of the console's. times: how those are read that have no time zone. statuses: your words; the first
# is written. life: what tells that a run is alive. Read what begins with doubt, lost or first, correct the rest, save this
# as a file and set OPSCONSOLE_MAPPING to its path.
"""


class Command(commands.ConsoleCommand):
    help = (
        "Report whether the console fits this database: what is missing or has another type, and what to do. "
        "Where migrate has run, the console's statements are tried on a job and undone. Changes nothing."
    )
    examples = ("inspect_database", "inspect_database --propose > mapping.toml", "inspect_database --json")
    exit_codes: ClassVar = {1: "a person must act first, or (--propose) no table fits"}
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
        parser.add_argument(
            "--propose",
            action="store_true",
            help="print a proposal of the file for OPSCONSOLE_MAPPING instead, made of the catalogue and a sample of rows: for jobs, "
            "worker_heartbeats and rate_limit_requests your table and columns, how columns of times are read that have no time zone, "
            "your words of each status, and what tells that a run is alive. Each line has its reason. Exit code 1: no table fits, or "
            "columns must be renamed first",
        )
        parser.add_argument(
            "--yes-run-triggers",
            action="store_true",
            help="try the console's statements on a job although triggers of yours might act outside the transaction, which is undone",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["propose"]:
            refuse_ignored(options, ["yes_run_triggers"], "with --propose")
        try:
            if options["propose"]:
                self._propose(as_json=options["json"])
            else:
                self._inspect(options)
        except OperationalError as error:
            if trouble_behind(error) in {Trouble.LOCKED, Trouble.TOO_SLOW}:
                raise could_not("\n".join([*locked_tables.sentences(), WAITED])) from error
            raise

    def _inspect(self, options: dict[str, Any]) -> None:
        findings = inspect_database()
        if not blockers(findings) and not schema_version.is_behind():
            findings += prove(run_triggers=options["yes_run_triggers"])
        self.stdout.write(_as_json(findings) if options["json"] else _as_text(findings))
        if blockers(findings):
            sys.exit(1)

    def _propose(self, *, as_json: bool) -> None:
        proposal = propose_mapping()
        self.stdout.write(_proposal_as_json(proposal) if as_json else _proposal_as_text(proposal))
        if proposal.refused or proposal.taken or unsupported(proposal):
            sys.exit(1)


def _proposal_as_text(proposal: Proposal) -> str:
    later = "".join(f"# refused: {sentence}.\n" for sentence in unsupported(proposal))
    return ("" if proposal.refused else HEADING) + later + render(proposal)


def _proposal_as_json(proposal: Proposal) -> str:
    return json.dumps(
        {
            "mapping": None if proposal.refused else render(proposal),
            "table": proposal.jobs.facts.sql if proposal.jobs.facts else None,
            "promise": None if proposal.refused else proposal.promise,
            "refused": [*proposal.refused, *unsupported(proposal)],
            "first": proposal.taken,
            "doubts": proposal.doubts,
            "lost": proposal.lost,
            "considered": proposal.considered,
        },
        indent=2,
    )


def _as_json(findings: list[Finding]) -> str:
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def _as_text(findings: list[Finding]) -> str:
    lines = [line for finding in findings for line in _lines(finding)]
    stops = len(blockers(findings))
    if stops:
        lines.append(f"\n{stops} of these must be resolved first.")
    else:
        lines.append(f"\n{_verdict({finding.id for finding in findings})}")
    return "\n".join(lines)


def _verdict(kinds: set[str]) -> str:
    """Return the last sentence where nothing stands in the way: that it fits is only said where it was tried."""
    if "proved" in kinds:
        return "The console fits this database."
    if "not-proved" in kinds:
        return "Nothing was found that does not fit, but the console's statements were not tried on a job: see not-proved."
    return (
        "Nothing stands in the way of migrate. Run inspect_database again after it: "
        "then the console's statements are tried on a job."
    )


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.severity:<8} {finding.id:<22} {finding.sentence}"]
    if finding.action:
        lines.append(f"{'':<8} {'':<22} -> {finding.action}")
    return lines
