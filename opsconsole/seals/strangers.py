"""Rows that no seal covers, and lines of the audit whose time is too early: somebody slipped them in."""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import connection

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.seals import chain, id_ranges, rows, sealer
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.report import SINGULAR, Report, name_rows

# Ids looked at together, for rows that no seal covers.
WINDOW = 50_000
# Rows read together.
PAGE = WINDOW // 10
# How much earlier than a line before it a line of the audit may be. Both times are the database's, so this much is
# left to transactions that ran side by side, and to a clock that was set.
TOLERANCE = timedelta(minutes=5)


def find_strangers(
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
    if strange:
        named = name_rows(source, id_ranges.of_ids(strange))
        report.add("inserted", 0, f"Inserted behind the seals: no seal covers {named}.")
    for number, time in too_early:
        report.add(
            "inserted",
            0,
            f"Inserted into the past: {SINGULAR[source]} {number} says {time} UTC, earlier than rows that were written before it.",
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
                     ORDER BY id LIMIT {PAGE}) AS entry
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
                page = cursor.fetchall()
            if not page:
                return
            self.latest = page[-1][3]
            early = [(number, time) for number, time, too_early, _ in page if timed and too_early]
            yield [row[0] for row in page], early
            if len(page) < PAGE:
                return
            first = page[-1][0] + 1


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
