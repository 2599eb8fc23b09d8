"""Verification of what ``uninstall --export`` wrote: from files alone, without a database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.counting import exactly
from opsconsole.seals import drops, verification
from opsconsole.seals.chain import Seal
from opsconsole.seals.drops import Drops
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.report import Report
from opsconsole.seals.rows import TABLES, SealedRow

SEALS = "seals.jsonl"
DROPS = "dropped_by_retention.jsonl"
_COLUMN = re.compile(r"(?:entry|detail)\.(\w+)")


class ExportFile(NamedTuple):
    """A file of rows. ``columns`` are the names of the sealed texts, in their order."""

    name: str
    columns: tuple[str, ...]


def _file(source: AuditSeal.Source) -> ExportFile:
    names = [_COLUMN.search(expression) for expression in TABLES[source].columns]
    return ExportFile(f"{source.value}.jsonl", tuple(name[1] for name in names if name))


FILES = {source: _file(source) for source in TABLES}


class Rows:
    """A file of rows in the order of their ids. A row is found by halving the file, so that nothing is kept in memory."""

    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        self.file = file
        self.columns = columns
        self.size = file.seek(0, 2)
        self.read_count = 0

    def read(self, _source: str, ranges: Sequence[Range], page: int) -> Iterator[list[SealedRow]]:
        """Yield the rows in these ascending ranges in pages, as ``opsconsole.seals.rows.read_all`` does."""
        rows: list[SealedRow] = []
        for first, last in ranges:
            self.file.seek(self._offset(first))
            for line in self.file:
                row = self._row(line)
                if row.id > last:
                    break
                rows.append(row)
                self.read_count += 1
                if len(rows) == page:
                    yield rows
                    rows = []
        yield rows

    def count(self) -> int:
        self.file.seek(0)
        return sum(1 for _ in self.file)

    def _row(self, line: bytes) -> SealedRow:
        row: dict[str, Any] = json.loads(line)
        return SealedRow(int(row["id"]), [row[column] for column in self.columns])

    def _offset(self, first: int) -> int:
        """Return where the first line with this id or a higher one begins."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            begin = self._line_from(middle)
            line = self.file.readline()
            if line and self._row(line).id < first:
                low = begin + len(line)
            else:
                high = middle
        return self._line_from(low)

    def _line_from(self, offset: int) -> int:
        """Go to the first line that begins at this offset or behind it."""
        self.file.seek(max(offset - 1, 0))
        if offset:
            self.file.readline()
        return self.file.tell()


def _drops(file: Path) -> dict[str, Drops]:
    """Read what had been dropped before the export. Exports of earlier versions have no such file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return drops.of_records(json.loads(line) for line in lines)


def verify(folder: Path, *, anchor: str = "") -> Report:
    """Verify the chain of the exported seals, and the rows that each of them covers. ``anchor``: as ``verification.verify``."""
    report = Report(drops=_drops(folder / DROPS))
    wanted = anchor.strip().lower().rpartition(":")[2]
    with ExitStack() as opened:
        sources = {
            source: Rows(opened.enter_context((folder / name).open("rb")), columns)
            for source, (name, columns) in FILES.items()
        }
        seals = opened.enter_context((folder / SEALS).open(encoding="utf-8"))
        for line in seals:
            seal = Seal(**json.loads(line))
            _check_link(report, seal)
            if seal.source in sources:
                verification.check_rows(report, seal, sources[AuditSeal.Source(seal.source)].read)
            report.newest = seal
            wanted = "" if seal.hash == wanted else wanted
        for source, rows in sources.items():
            if (unsealed := rows.count() - rows.read_count) > 0:
                report.add(
                    "inserted", 0, f"No seal covers {exactly(unsealed, 'line')} of {FILES[source].name}."
                )
    if wanted:
        report.add("anchor missing", 0, "The seal that was kept elsewhere is not among the exported ones.")
    return report


def _check_link(report: Report, seal: Seal) -> None:
    report.seals += 1
    if fault := seal.fault():
        report.add("seal altered", seal.number, f"The {seal.name} {fault}.")
    number, before = (report.newest.number, report.newest.hash) if report.newest else (0, "")
    if seal.number != number + 1:
        report.add("seal missing", number + 1, f"Seal {number + 1} is missing.")
    elif seal.previous != before:
        report.add("chain broken", seal.number, f"The {seal.name} does not continue the seal before it.")
