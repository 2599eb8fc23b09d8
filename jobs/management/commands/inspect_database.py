"""The command that reports whether the console fits a database."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.inspection import Finding, blockers, inspect_database
from jobs.inspection.proposal import Proposal, propose_mapping, render, unsupported


class Command(BaseCommand):
    help = (
        "Report whether the console fits this database: what is missing or has another type, and what to do. "
        "Changes nothing. Exit code 1: a person must act before migrate."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of text")
        parser.add_argument(
            "--propose",
            action="store_true",
            help="print a file for OPSCONSOLE_MAPPING instead, made of the catalogue and a sample of rows. Exit code 1: none fits",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["propose"]:
            self._propose(as_json=options["json"])
            return
        findings = inspect_database()
        self.stdout.write(_as_json(findings) if options["json"] else _as_text(findings))
        if blockers(findings):
            sys.exit(1)

    def _propose(self, *, as_json: bool) -> None:
        proposal = propose_mapping()
        self.stdout.write(_proposal_as_json(proposal) if as_json else _proposal_as_text(proposal))
        if proposal.refused or unsupported(proposal):
            sys.exit(1)


def _proposal_as_text(proposal: Proposal) -> str:
    heading = "# Proposed by inspect_database --propose. Read the doubts, then save this and set OPSCONSOLE_MAPPING to its path.\n"
    later = "".join(f"# refused: {sentence}.\n" for sentence in unsupported(proposal))
    return ("" if proposal.refused else heading) + later + render(proposal)


def _proposal_as_json(proposal: Proposal) -> str:
    return json.dumps(
        {
            "mapping": None if proposal.refused else render(proposal),
            "table": proposal.jobs.facts.sql if proposal.jobs.facts else None,
            "promise": None if proposal.refused else proposal.promise,
            "refused": [*proposal.refused, *unsupported(proposal)],
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
        lines.append(f"\n{stops} of these must be resolved before migrate.")
    else:
        lines.append("\nThe console fits this database.")
    return "\n".join(lines)


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.severity:<8} {finding.id:<22} {finding.sentence}"]
    if finding.action:
        lines.append(f"{'':<8} {'':<22} -> {finding.action}")
    return lines
