"""The command that reports whether the console fits a database."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobs.inspection import Finding, blockers, inspect_database


class Command(BaseCommand):
    help = (
        "Report whether the console fits this database: what is missing or has another type, and what to do. "
        "Changes nothing. Exit code 1: a person must act before migrate."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON array instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = inspect_database()
        self.stdout.write(_as_json(findings) if options["json"] else _as_text(findings))
        if blockers(findings):
            sys.exit(1)


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
