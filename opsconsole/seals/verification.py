"""Verification: do the sealed tables still hold what was sealed, and is the chain whole?

Everything is read in pages, so the memory does not grow with the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from django.contrib.admin.models import LogEntry

from opsconsole.kit.audit_models import AuditSeal, SealCheck
from opsconsole.kit.retention_models import DroppedRows
from opsconsole.seals import chain, drops, id_ranges, rows, strangers
from opsconsole.seals.canonical import ContentHash
from opsconsole.seals.chain import Seal
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.report import Report, name_rows

ROWS_PER_PAGE = 2_000
# Yields the rows of a source in these ranges, in pages of this size.
Reader = Callable[[str, Sequence[Range], int], Iterator[list[rows.SealedRow]]]


def verify(*, anchor: str = "", events_from: int = 0) -> Report:
    """Verify everything: the chain, each seal's rows, and that no row was slipped in beside them.

    ``anchor`` is the hash of a seal that was kept elsewhere. For ``events_from`` see ``Report``.
    """
    report = Report(events_from=events_from, drops=drops.every(), newest=chain.newest())
    for seal, before in chain.linked():
        check_seal(report, seal, before)
    for source in AuditSeal.Source:
        strangers.find_strangers(
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
    for seal, before in chain.linked(max(1, last - links + 1)):
        _check_link(report, seal, before)
        if seal.number > last - seals and read < 10 * ROWS_PER_PAGE:
            read += seal.row_count
            check_rows(report, seal)
            lowest[seal.source] = min(seal.first_id, lowest.get(seal.source, seal.first_id))
    for source, first in lowest.items():
        strangers.find_strangers(report, AuditSeal.Source(source), first, windows=4)
    _check_end(report)
    return report


def check_seal(report: Report, seal: Seal, before: str | None) -> None:
    """Verify one seal, its link to the hash of the one before it, and its rows."""
    _check_link(report, seal, before)
    check_rows(report, seal)


def _check_link(report: Report, seal: Seal, before: str | None) -> None:
    report.seals += 1
    if fault := seal.fault():
        report.add("seal altered", seal.number, f"The {seal.name} {fault}.")
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
    source = AuditSeal.Source(seal.source)
    missing = [gap for each in wanted for gap in id_ranges.gaps(each, present)]
    if missing:
        report.add("deleted", seal.number, f"Deleted since the {seal.name}: {name_rows(source, missing)}.")
    elif content.count > row_count:
        report.add(
            "inserted", seal.number, f"Inserted beside the rows of the {seal.name}: an id exists twice."
        )
    else:
        report.add(
            "altered",
            seal.number,
            f"Altered since the {seal.name}: one or more of {name_rows(source, wanted)}.",
        )


def _expected(report: Report, seal: Seal, wanted: list[Range]) -> tuple[list[Range], str, int]:
    """Return which rows of a seal must be there, their hash and their number: without what retention dropped."""
    if seal.source not in report.drops:
        return wanted, seal.content, seal.row_count
    left, expected = report.drops[seal.source].left_of(seal, wanted)
    dropped = id_ranges.size(wanted) - id_ranges.size(left)
    report.dropped += dropped
    return left, expected, id_ranges.size(left) if dropped else seal.row_count


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
