"""The command that shows what is kept for how long, and removes what is due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.template.defaultfilters import filesizeformat

from opsconsole.kit import audit, commands
from opsconsole.kit.counting import exactly
from opsconsole.retention import once, sizes, subjects
from opsconsole.retention.sizes import Size
from opsconsole.retention.subjects import Line

TABLES_SHOWN = 12


class Command(commands.ConsoleCommand):
    help = (
        "Remove rows whose retention has ended, in small batches, as the cluster does each hour. With --dry-run, show what is due, "
        "what was removed last, and how large tables are, and change nothing."
    )
    examples = ("retention --dry-run", "retention", "retention --dry-run --json")

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_dry_run(parser)
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            self._show(as_json=options["json"])
            return
        removed = once.run(audit.command_actor(""))
        total = sum(removed.values())
        lines = [f"{rows:>12,}  {name}" for name, rows in removed.items() if rows]
        lines.append(f"{exactly(total, 'row')} removed." if total else "Nothing was due.")
        self.tell({"removed": removed}, lines, as_json=options["json"])

    def _show(self, *, as_json: bool) -> None:
        lines, tables = subjects.lines(), sizes.read()
        answer = {
            "subjects": [line.as_json() for line in lines],
            "tables": [size.as_json() for size in tables],
        }
        self.tell(answer, _as_text(lines, tables), as_json=as_json)


def _as_text(lines: list[Line], tables: list[Size]) -> Iterator[str]:
    for line in lines:
        last = (
            f"last removed {line.last.rows:,} at {line.last.at:%Y-%m-%d %H:%M}"
            if line.last
            else "never removed"
        )
        yield f"{line.subject.name:<16}{line.days:>5} days  due: {line.due_text}, {last} ({line.subject.setting})"
    yield ""
    for size in tables[:TABLES_SHOWN]:
        growth = "growth unknown" if size.growth is None else f"{filesizeformat(size.growth)} per day"
        of_indexes = filesizeformat(size.index_bytes)
        yield f"{size.table:<28}{filesizeformat(size.bytes):>12}  ({of_indexes} indexes), {growth}"
