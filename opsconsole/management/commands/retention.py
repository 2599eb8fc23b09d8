"""The command that shows what is kept for how long, and removes what is due."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

from django.core.management.base import CommandParser
from django.template.defaultfilters import filesizeformat

from jobs.watch.batched_deletes import KeptRows
from opsconsole.kit import audit, commands
from opsconsole.kit.counting import exactly
from opsconsole.retention import months, once, sizes, subjects
from opsconsole.retention.sizes import Size
from opsconsole.retention.subjects import SubjectLine

TABLES_SHOWN = 12


class Command(commands.ConsoleCommand):
    help = (
        "Remove rows whose retention has ended, in small batches, and months of the timeline, as the cluster does each hour. "
        "With --dry-run, show what is due, what was removed last, and how large tables are, and change nothing."
    )
    examples = ("retention --dry-run", "retention", "retention --dry-run --json")
    patience_seconds = commands.LONG_STATEMENT_SECONDS
    exit_codes: ClassVar = {
        1: "the database refused to remove some rows, or a month of the timeline that is due could not be exported or dropped"
    }

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_dry_run(parser)
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            self._show(as_json=options["json"])
            return
        removed, results = once.run(audit.command_actor(""), kept := KeptRows())
        total = sum(removed.values()) + sum(result.rows or 0 for result in results)
        lines = [f"{rows:>12,}  {name}" for name, rows in removed.items() if rows]
        lines += [f"{result.month}: {result.sentence}" for result in results]
        lines += kept.sentences
        lines.append(f"{exactly(total, 'row')} removed." if total else "Nothing was removed.")
        answer = {
            "removed": removed,
            "kept": kept.sentences,
            "months": [asdict(result) for result in results],
        }
        self.tell(answer, lines, as_json=options["json"])
        if kept.sentences or any(result.rows is None and not result.waits for result in results):
            sys.exit(1)

    def _show(self, *, as_json: bool) -> None:
        lines, tables = subjects.lines(), sizes.read()
        answer = {
            "subjects": [line.as_json() for line in lines],
            "months": [asdict(month) for month in months.every()],
            "tables": [size.as_json() for size in tables],
        }
        self.tell(answer, _as_text(lines, tables), as_json=as_json)


def _as_text(lines: list[SubjectLine], tables: list[Size]) -> Iterator[str]:
    for line in lines:
        last = (
            f"last removed {line.last.rows:,} at {line.last.at:%Y-%m-%d %H:%M}"
            if line.last
            else "never removed"
        )
        yield f"{line.subject.name:<16}{line.days:>5} days  due: {line.due_text}, {last} ({line.subject.setting})"
    yield ""
    for month in months.every():
        yield f"{month.name}: {'due' if month.is_due else f'kept until {month.kept_until:%Y-%m-%d} UTC'}"
    yield ""
    for size in tables[:TABLES_SHOWN]:
        growth = "growth unknown" if size.growth is None else f"{filesizeformat(size.growth)} per day"
        of_indexes = filesizeformat(size.index_bytes)
        yield f"{size.table:<28}{filesizeformat(size.bytes):>12}  ({of_indexes} indexes), {growth}"
