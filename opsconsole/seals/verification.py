"""Verification: do the sealed tables still hold what was sealed, and is the chain whole?

Everything is read in pages, so the memory does not grow with the tables.
"""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.db import connection

from opsconsole.kit.audit_models import AuditSeal, SealCheck
from opsconsole.kit.retention_models import DroppedRows
from opsconsole.seals import chain, drops, id_ranges, rows, sealer
from opsconsole.seals.canonical import ContentHash
from opsconsole.seals.chain import Seal
from opsconsole.seals.drops import Drops
from opsconsole.seals.id_ranges import Range

ROWS_PER_PAGE = 2_000
# Ids looked at together, for rows that no seal covers.
WINDOW = 50_000
# How much earlier than a line before it a line of the audit may be. Both times are the database's, so this much is
# left to transactions that ran side by side, and to a clock that was set.
TOLERANCE = timedelta(minutes=5)
MOST_NAMED = 100
IDS_NAMED = 10
# Yields the rows of a source in these ranges, in pages of this size.
Reader = Callable[[str, Sequence[Range], int], Iterator[list[rows.SealedRow]]]
SINGULAR = {
    AuditSeal.Source.AUDIT: "audit row",
    AuditSeal.Source.TIMELINE: "timeline event",
    AuditSeal.Source.BULK: "bulk event",
    AuditSeal.Source.LETTERS: "ledger row",
}


class Break(NamedTuple):
    """What does not match. ``seal`` is 0 where no seal is concerned."""

    kind: str
    seal: int
    sentence: str


@dataclass
class Report:
    """``events_from``: seals that reach below this id of an event are not compared with rows, which were dropped on purpose.

    ``drops`` are the rows that retention dropped, by source, and ``dropped`` is how many of them the seals named.
    """

    events_from: int = 0
    drops: dict[str, Drops] = field(default_factory=dict)
    seals: int = 0
    rows: int = 0
    dropped: int = 0
    newest: Seal | None = None
    breaks: list[Break] = field(default_factory=list)
    break_count: int = 0

    def add(self, kind: str, seal: int, sentence: str) -> None:
        self.break_count += 1
        if len(self.breaks) < MOST_NAMED:
            self.breaks.append(Break(kind, seal, sentence))


def verify(*, anchor: str = "", events_from: int = 0) -> Report:
    """Verify everything: the chain, each seal's rows, and that no row was slipped in beside them.

    ``anchor`` is the hash of a seal that was kept elsewhere. For ``events_from`` see ``Report``.
    """
    report = Report(events_from=events_from, drops=drops.every(), newest=chain.newest())
    for page in chain.pages():
        for seal in page:
            _check_link(report, seal)
            check_rows(report, seal)
    for source in AuditSeal.Source:
        check_strangers(
            report, source, (events_from or None) if source == AuditSeal.Source.TIMELINE else None
        )
    _check_end(report)
    _check_drops(report)
    if anchor:
        _check_anchor(report, anchor)
    return report


def verify_recent(seals: int = 50, links: int = 2_000) -> Report:
    """Verify the last seals with their rows, the links of more of them, and the rows since. The work is bounded.

    Of events that were dropped on purpose, the last complete verification said so.
    """
    dropped = SealCheck.objects.values_list("events_from", flat=True).first() or 0
    report = Report(events_from=dropped, drops=drops.every(), newest=chain.newest())
    if report.newest is None:
        _check_end(report)
        return report
    last = report.newest.number
    lowest: dict[str, int] = {}
    read = 0
    for page in chain.pages(max(1, last - links + 1)):
        for seal in page:
            _check_link(report, seal)
            if seal.number > last - seals and read < 10 * ROWS_PER_PAGE:
                read += seal.row_count
                check_rows(report, seal)
                lowest[seal.source] = min(seal.first_id, lowest.get(seal.source, seal.first_id))
    for source, first in lowest.items():
        check_strangers(report, AuditSeal.Source(source), first, windows=4)
    _check_end(report)
    return report


def check_seal(report: Report, number: int) -> None:
    """Verify one seal, its link and its rows."""
    found = [seal for page in chain.pages(number, number) for seal in page]
    if not found:
        report.add("seal missing", number, f"Seal {number} is missing.")
    for seal in found:
        _check_link(report, seal)
        check_rows(report, seal)


def _check_link(report: Report, seal: Seal) -> None:
    report.seals += 1
    if fault := seal.fault():
        report.add("seal altered", seal.number, f"The {seal.name} {fault}.")
    before = AuditSeal.objects.filter(number=seal.number - 1).values_list("hash", flat=True).first()
    if before is None and seal.number > 1:
        report.add("seal missing", seal.number - 1, f"Seal {seal.number - 1} is missing.")
    elif seal.previous != (before or ""):
        report.add(
            "chain broken", seal.number, f"The {seal.name} does not continue the seal that stands before it."
        )


def check_rows(report: Report, seal: Seal, read: Reader = rows.read_all) -> None:
    """Compare the rows that the seal names with their hash."""
    try:
        wanted = id_ranges.from_text(seal.ids)
    except ValueError:
        return  # ``_check_link`` tells it.
    if seal.source not in rows.TABLES:
        return
    if seal.source == AuditSeal.Source.TIMELINE and seal.first_id < report.events_from:
        return
    wanted, expected, row_count = _expected(report, seal, wanted)
    if not wanted:
        return
    content = ContentHash()
    present: list[Range] = []
    for page in read(seal.source, wanted, ROWS_PER_PAGE):
        content.add(row.texts for row in page)
        present = id_ranges.joined(present, id_ranges.of_ids(row.id for row in page))
    report.rows += content.count
    if content.text() == expected:
        return
    kind = SINGULAR[AuditSeal.Source(seal.source)]
    missing = [gap for each in wanted for gap in id_ranges.gaps(each, present)]
    if missing:
        report.add("deleted", seal.number, f"Deleted since the {seal.name}: {_rows(kind, missing)}.")
    elif content.count > row_count:
        report.add(
            "inserted", seal.number, f"Inserted beside the rows of the {seal.name}: an id exists twice."
        )
    else:
        report.add(
            "altered",
            seal.number,
            f"Altered since the {seal.name}: one or more of {_rows(kind, wanted)}.",
        )


def _expected(report: Report, seal: Seal, wanted: list[Range]) -> tuple[list[Range], str, int]:
    """Return which rows of a seal must be there, their hash and their number: without what retention dropped."""
    if seal.source not in report.drops:
        return wanted, seal.content, seal.row_count
    left, expected = report.drops[seal.source].left_of(seal, wanted)
    dropped = id_ranges.size(wanted) - id_ranges.size(left)
    report.dropped += dropped
    return left, expected, id_ranges.size(left) if dropped else seal.row_count


def check_strangers(
    report: Report, source: AuditSeal.Source, first: int | None = None, windows: int | None = None
) -> None:
    """Find rows that no seal covers and that can't be on their way, from the id ``first``; audit rows also by their time."""
    pending = list(sealer.unsealed_ids(source))
    if not pending:
        # Nothing was ever sealed, or somebody emptied the table: then only sealed rows are known.
        pending = [(-sealer.END, sealer.END)] if not AuditSeal.objects.filter(source=source).exists() else []
    clock = _Clock(source)
    start = rows.lowest_id(source, None if first is None else first - 1)
    while start is not None and windows != 0:
        if start > sealer.END:
            _report_strangers(report, source, [start], [])
            break
        end = min(start + WINDOW - 1, sealer.END)
        known = id_ranges.joined(
            [part for covered in chain.overlapping(source, start, end) for part in covered], pending
        )
        for ids, too_early in clock.pages(start, end):
            strange = [number for number in ids if not _is_in(number, known)]
            _report_strangers(report, source, strange, too_early)
        start = rows.lowest_id(source, end)
        windows = None if windows is None else windows - 1


def _report_strangers(
    report: Report, source: AuditSeal.Source, strange: list[int], too_early: list[tuple[int, str]]
) -> None:
    kind = SINGULAR[source]
    if strange:
        named = _rows(kind, id_ranges.of_ids(strange))
        report.add("inserted", 0, f"Inserted behind the seals: no seal covers {named}.")
    for number, said in too_early:
        report.add(
            "inserted",
            0,
            f"Inserted into the past: {kind} {number} says {said} UTC, earlier than rows that were written before it.",
        )


class _Clock:
    """Reads the ids of a source; of the audit also each line whose time is too early for its id."""

    def __init__(self, source: AuditSeal.Source) -> None:
        self.table = rows.TABLES[source]
        self.source = source
        self.latest = "-infinity"
        # The rows from before there were seals have times of other clocks.
        existing = AuditSeal.objects.filter(source=source, existing=True).order_by("-last_id")
        self.since = existing.values_list("last_id", flat=True).first() or 0

    def pages(self, first: int, last: int) -> Iterator[tuple[list[int], list[tuple[int, str]]]]:
        """Yield pages of ids, and of those that are too early with their times."""
        timed = self.source == AuditSeal.Source.AUDIT
        statement = f"""
            SELECT id, {rows.TIME.format(self.table.time)},
                   {self.table.time} < running - %(tolerance)s AND id > %(since)s,
                   greatest(running, CASE WHEN id > %(since)s THEN least({self.table.time}, now()) END)::text
              FROM (SELECT id, {self.table.time}, greatest(%(latest)s::timestamptz, max(
                           CASE WHEN id > %(since)s THEN least({self.table.time}, now()) END)
                           OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS running
                      FROM {self.table.name} WHERE id BETWEEN %(first)s AND %(last)s
                     ORDER BY id LIMIT {WINDOW // 10}) AS entry
             ORDER BY id"""
        while first <= last:
            with connection.cursor() as cursor:
                given: dict[str, Any] = {
                    "tolerance": TOLERANCE,
                    "since": self.since,
                    "latest": self.latest,
                    "first": first,
                    "last": last,
                }
                cursor.execute(statement, given)
                found = cursor.fetchall()
            if not found:
                return
            self.latest = found[-1][3]
            early = [(number, said) for number, said, too_early, _ in found if timed and too_early]
            yield [row[0] for row in found], early
            first = found[-1][0] + 1


def _check_end(report: Report) -> None:
    """Compare the end of the chain with the seals that were checked before."""
    last = report.newest.number if report.newest else 0
    seen = SealCheck.objects.values_list("newest_seal", flat=True).first() or 0
    if last < seen:
        report.add(
            "seal missing",
            last + 1,
            f"The end of the chain was cut off: there was a seal {seen}, and the last is {last}.",
        )


def _check_drops(report: Report) -> None:
    """Look for the line of the audit that quotes each record of dropped rows, unless it is older than all lines that are left."""
    records = DroppedRows.objects.order_by("pk")
    if AuditSeal.Source.AUDIT in report.drops:
        oldest = LogEntry.objects.order_by("pk").values_list("action_time", flat=True).first()
        records = records.filter(at__gte=oldest) if oldest else records.none()
    for record in records.values(*drops.FIELDS):
        if not LogEntry.objects.filter(change_message__contains=drops.fingerprint(record)).exists():
            report.add(
                "drop untold",
                0,
                f"The record of {record['name']}, which says that retention dropped {record['row_count']:,} rows, is not the one "
                "that the audit quotes.",
            )


def _check_anchor(report: Report, anchor: str) -> None:
    if chain.anchored(anchor) is None:
        report.add(
            "anchor missing",
            0,
            "The seal that was kept elsewhere is not in the chain: its end was cut off, or it was written anew.",
        )


def _is_in(number: int, ranges: list[Range]) -> bool:
    """Tell whether one of these ascending ranges holds the number."""
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        if ranges[middle][1] < number:
            low = middle + 1
        else:
            high = middle
    return low < len(ranges) and ranges[low][0] <= number


def _rows(kind: str, ranges: list[Range]) -> str:
    count = id_ranges.size(ranges)
    named = id_ranges.as_text(ranges[:IDS_NAMED]) + (", …" if len(ranges) > IDS_NAMED else "")
    return f"{kind} {named}" if count == 1 else f"{count:,} {kind}s ({named})"
