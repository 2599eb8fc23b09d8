"""The rows that are sealed, read as the texts of their canonical form: whatever says who did what and why."""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db import connection

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.seals.canonical import Texts
from opsconsole.seals.id_ranges import Range

# Also the form of times in seals. Infinite times have no digits.
TIME = "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
SAFE_TIME = f"CASE WHEN isfinite({{0}}) THEN {TIME} ELSE {{0}}::text END"


class Table(NamedTuple):
    """A source of rows. ``columns`` are SQL expressions of text on ``name``, whose alias is ``entry``."""

    name: str
    time: str
    columns: tuple[str, ...]
    join: str = ""


# The order and number of the columns are part of the canonical form.
TABLES = {
    AuditSeal.Source.AUDIT: Table(
        "django_admin_log",
        "action_time",
        (
            "entry.id::text",
            SAFE_TIME.format("entry.action_time"),
            "entry.user_id::text",
            "entry.content_type_id::text",
            "entry.object_id",
            "entry.object_repr",
            "entry.action_flag::text",
            "entry.change_message",
            "detail.reason",
            "detail.result",
            "detail.actor",
        ),
        join="LEFT JOIN audit_details AS detail ON detail.entry_id = entry.id",
    ),
    AuditSeal.Source.TIMELINE: Table(
        "job_events",
        "at",
        (
            "entry.id::text",
            SAFE_TIME.format("entry.at"),
            "entry.job_id::text",
            "entry.kind",
            "entry.run_epoch::text",
            "entry.actor",
            "entry.user_id::text",
            "entry.reason",
            "entry.details::text",
        ),
    ),
    AuditSeal.Source.BULK: Table(
        "bulk_events",
        "at",
        (
            "entry.id::text",
            SAFE_TIME.format("entry.at"),
            "entry.operation_id::text",
            "entry.kind",
            "entry.actor",
            "entry.user_id::text",
            "entry.reason",
        ),
    ),
    # Without the steps and the result, which are filled in later.
    AuditSeal.Source.LETTERS: Table(
        "dead_letter_ledger",
        "wanted_at",
        (
            "entry.id::text",
            SAFE_TIME.format("entry.wanted_at"),
            "entry.letter_id::text",
            "entry.action",
            "entry.actor",
            "entry.user_id::text",
            "entry.reason",
            "entry.from_copy::text",
            "entry.edited_body",
            "entry.job_epoch::text",
        ),
    ),
}


class SealedRow(NamedTuple):
    id: int
    texts: Texts


def read(source: str, ranges: Sequence[Range], limit: int) -> list[SealedRow]:
    """Return the rows whose ids lie in these ascending ranges, by id, at most ``limit``. One statement: one snapshot."""
    table = TABLES[AuditSeal.Source(source)]
    # Per range, so that each is looked up in the index of each partition.
    statement = f"""
        SELECT entry.id, {", ".join(table.columns)}
          FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS wanted (first_id, last_id)
          CROSS JOIN LATERAL (
              SELECT * FROM {table.name} AS entry
               WHERE entry.id BETWEEN wanted.first_id AND wanted.last_id
               ORDER BY entry.id LIMIT %(limit)s
          ) AS entry {table.join}
         ORDER BY entry.id, entry.{table.time} LIMIT %(limit)s"""
    given: dict[str, Any] = {
        "firsts": [first for first, _ in ranges],
        "lasts": [last for _, last in ranges],
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        return [SealedRow(number, texts) for number, *texts in cursor.fetchall()]


def read_all(source: str, ranges: Sequence[Range], page: int) -> Iterator[list[SealedRow]]:
    """Yield all rows in these ranges in pages, by id. Each page is a statement of its own."""
    left = list(ranges)
    while left:
        rows = read(source, left[:page], page)
        is_full = len(rows) == page
        if is_full and rows[0].id != rows[-1].id:
            # Rows may share an id in a partitioned table: what shares the last one may be beyond the page.
            rows = [row for row in rows if row.id != rows[-1].id]
        if rows:
            yield rows
        if not is_full:
            left = left[page:]
            continue
        after = rows[-1].id + 1
        left = [(max(first, after), last) for first, last in left if last >= after]


def highest_id(source: str) -> int | None:
    return _value(f"SELECT max(id) FROM {TABLES[AuditSeal.Source(source)].name}")


def lowest_id(source: str, above: int | None = None) -> int | None:
    """Return the lowest id, or the lowest one above another."""
    name = TABLES[AuditSeal.Source(source)].name
    if above is None:
        return _value(f"SELECT min(id) FROM {name}")
    return _value(f"SELECT min(id) FROM {name} WHERE id > %s", [above])


def _value(statement: str, given: Sequence[int] = ()) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, given or None)
        value: int | None = cursor.fetchone()[0]
        return value
