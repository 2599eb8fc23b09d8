"""The sealer: chains what was committed to the sealed tables since its last turn (docs/decisions/0032-seals.md).

Ids come from a sequence before their transactions commit, so rows become visible out of order. What no seal covers is
kept as ranges of ids: what comes next, and the gaps below it. A row that appears in a gap goes into the next seal. A
gap closes when all transactions that could still fill it have ended. The writers pay nothing for any of this.

One process seals at a time. Each seal is a transaction of its own, over a bounded number of rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models.functions import Now

from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.audit_models import AuditSeal, UnsealedRange
from opsconsole.seals import id_ranges, rows
from opsconsole.seals.canonical import ContentHash, SealFacts
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.rows import SealedRow

BUDGET = timedelta(seconds=20)
# Rows per seal. A line of the audit is found by its seal, an event by its minute.
MOST_ROWS = dict.fromkeys(AuditSeal.Source, 1000) | {AuditSeal.Source.TIMELINE: 20_000}
# An id may be taken from the sequence a while before its transaction gets the number by which it is waited for.
SETTLED_AFTER = timedelta(minutes=2)
# A gap as wide as this was never a transaction that was rolled back: somebody wrote an id of their own. It stays open,
# because the sequence will fill it.
WIDEST_GAP = 100_000
# The last id that is sealed: PostgreSQL needs a number above it for ranges.
END = 2**63 - 2


@dataclass
class Turn:
    """What one turn sealed."""

    rows: int = 0
    seals: int = 0
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another process is sealing"
        return f"{self.rows:,} rows sealed in {self.seals:,} seals" if self.seals else "nothing to seal"


class Snapshot(NamedTuple):
    """The transactions that may still commit have ids from ``oldest`` on; those that begin now, from ``next`` on."""

    oldest: int
    next: int


def seal(budget: timedelta = BUDGET) -> Turn:
    """Seal what no seal covers: what is new first, then rows from before there were seals, until the time is up."""
    turn, end = Turn(), time.monotonic() + budget.total_seconds()
    for existing in (False, True):
        for source in _with_old_rows() if existing else _with_new_rows():
            begun: set[int] = set()
            while time.monotonic() < end:
                with transaction.atomic():
                    if not _is_only_sealer():
                        turn.busy = True
                        return turn
                    portion = _next_portion(source, begun, existing=existing)
                    if not portion:
                        break
                    sealed = _seal(source, portion, begun)
                turn.rows += sealed
                turn.seals += bool(sealed)
    return turn


# There may be something to seal unless what comes next is the only range that is noted, and no row is in it. The highest id is found
# by its index; whether there is a row above an id, PostgreSQL might look for in the whole table.
_MAY_HAVE_ROWS = """
SELECT '{source}'
 WHERE (SELECT count(*) FROM audit_unsealed WHERE source = '{source}') <> 1
    OR EXISTS (SELECT FROM audit_unsealed WHERE source = '{source}' AND last_id IS NOT NULL)
    OR (SELECT max(id) FROM {table}) >= (SELECT max(first_id) FROM audit_unsealed WHERE source = '{source}')
"""


def _with_new_rows() -> list[AuditSeal.Source]:
    """Return the sources with ranges that must be looked at under the lock, in most turns none."""
    each = (
        _MAY_HAVE_ROWS.format(source=source.value, table=rows.TABLES[source].name)
        for source in AuditSeal.Source
    )
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(each))
        named = {source for (source,) in cursor.fetchall()}
    return [source for source in AuditSeal.Source if source in named]


def _with_old_rows() -> list[AuditSeal.Source]:
    """Return the sources with rows from before there were seals that no seal covers yet."""
    named = set(UnsealedRange.objects.filter(existing=True).values_list("source", flat=True))
    return [source for source in AuditSeal.Source if source in named]


def _is_only_sealer() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.SEALS])
        return bool(cursor.fetchone()[0])


def _next_portion(source: AuditSeal.Source, begun: set[int], *, existing: bool) -> list[UnsealedRange]:
    """Return ranges that this turn has not looked at: one, or several gaps with at most as many ids as a seal has rows."""
    _open(source)
    ranges = UnsealedRange.objects.filter(source=source, existing=existing).exclude(pk__in=begun)
    portion: list[UnsealedRange] = []
    ids = 0
    # The last one first: it is where new rows are.
    for each in ranges.order_by("-first_id")[: MOST_ROWS[source]]:
        ids += (each.last_id or END) - each.first_id + 1
        if portion and ids > MOST_ROWS[source]:
            break
        portion.append(each)
    return sorted(portion, key=lambda each: each.first_id)


def _open(source: AuditSeal.Source) -> None:
    """Create the range of what comes next where there is none: before the first seal of this source."""
    if UnsealedRange.objects.filter(source=source, last_id=None).exists():
        return
    seals = AuditSeal.objects.filter(source=source).order_by("-last_id")
    sealed_up_to = seals.values_list("last_id", flat=True).first()
    if sealed_up_to is None and (highest := rows.highest_id(source)) is not None:
        UnsealedRange.objects.create(
            source=source,
            first_id=rows.lowest_id(source) or 1,
            last_id=min(highest, END),
            existing=True,
            horizon=_snapshot().next,
        )
        sealed_up_to = min(highest, END)
    UnsealedRange.objects.create(source=source, first_id=(sealed_up_to or 0) + 1)


def _seal(source: AuditSeal.Source, portion: Sequence[UnsealedRange], begun: set[int]) -> int:
    """Seal the rows in these ranges, and keep what of the ranges is still open. Return the number of rows."""
    limit = MOST_ROWS[source]
    # Before the rows are read: what had ended by then is visible to them.
    snapshot = _snapshot()
    sealed_rows = rows.read(source, [(each.first_id, each.last_id or END) for each in portion], limit)
    covered = id_ranges.of_ids(row.id for row in sealed_rows)
    read_up_to = END if len(sealed_rows) < limit else sealed_rows[-1].id
    for each in portion:
        own = [part for part in covered if each.first_id <= part[1] and part[0] <= (each.last_id or END)]
        if each.last_id is None:
            _advance(each, own)
        elif read_up_to >= each.first_id:
            _narrow(each, own, read_up_to, snapshot, begun)
        if read_up_to == END:
            begun.add(each.pk)
    if sealed_rows:
        _write(source, sealed_rows, covered, existing=portion[0].existing)
    return len(sealed_rows)


def _advance(head: UnsealedRange, covered: Sequence[Range]) -> None:
    """Let the range of what comes next begin behind the last row, and note the gaps before it."""
    if covered:
        last = covered[-1][1]
        _note(head.source, id_ranges.gaps((head.first_id, last), covered))
        UnsealedRange.objects.filter(pk=head.pk).update(first_id=last + 1)


def _narrow(
    each: UnsealedRange, covered: Sequence[Range], read_up_to: int, snapshot: Snapshot, begun: set[int]
) -> None:
    """Replace a range by its gaps that are still open, and by what was not read."""
    last = each.last_id or END
    left = list(id_ranges.gaps((each.first_id, min(last, read_up_to)), covered))
    wide = [gap for gap in left if id_ranges.size([gap]) > WIDEST_GAP]
    is_settled = each.horizon is not None and each.horizon <= snapshot.oldest
    narrow = [] if is_settled else [gap for gap in left if gap not in wide]
    if left == [(each.first_id, last)] and (wide or narrow) and not (wide and each.existing):
        _await(each, snapshot)
        return
    # The ids of a wide gap are yet to be taken, so nothing is known of the transactions that will take them.
    _note(each.source, wide)
    begun.update(_note(each.source, narrow, like=each))
    if read_up_to >= last:
        each.delete()
    else:
        UnsealedRange.objects.filter(pk=each.pk).update(first_id=read_up_to + 1)


def _note(source: str, gaps: Iterable[Range], *, like: UnsealedRange | None = None) -> list[int]:
    """Store gaps, with the times of the range that they are a part of; return their keys."""
    times: dict[str, Any] = (
        {"noticed_at": like.noticed_at, "horizon": like.horizon, "existing": like.existing} if like else {}
    )
    made = [UnsealedRange(source=source, first_id=first, last_id=last, **times) for first, last in gaps]
    return [each.pk for each in UnsealedRange.objects.bulk_create(made, batch_size=500)]


def _await(gap: UnsealedRange, snapshot: Snapshot) -> None:
    """Begin to wait for the transactions that are running, once a gap is old enough that they include its own."""
    if gap.horizon is None and id_ranges.size([(gap.first_id, gap.last_id or END)]) <= WIDEST_GAP:
        old = UnsealedRange.objects.filter(pk=gap.pk, noticed_at__lt=Now() - SETTLED_AFTER)
        old.update(horizon=snapshot.next)


def _snapshot() -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint"
            "  FROM pg_current_snapshot() AS now"
        )
        return Snapshot(*cursor.fetchone())


def _write(
    source: AuditSeal.Source, sealed_rows: Sequence[SealedRow], covered: Sequence[Range], *, existing: bool
) -> None:
    content = ContentHash()
    content.add(row.texts for row in sealed_rows)
    last = AuditSeal.objects.order_by("-number").values_list("number", "hash").first() or (0, "")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {rows.TIME.format('clock_timestamp()')}")
        sealed_at = cursor.fetchone()[0]
    facts = SealFacts(
        number=last[0] + 1,
        previous=last[1],
        source=str(source),
        existing=existing,
        ids=id_ranges.as_text(covered),
        row_count=len(sealed_rows),
        content=content.text(),
        sealed_at=sealed_at,
    )
    stored = facts._asdict() | {"sealed_at": f"{sealed_at}+00:00"}
    AuditSeal.objects.create(**stored, hash=facts.hash(), first_id=covered[0][0], last_id=covered[-1][1])


def unsealed_ids(source: AuditSeal.Source) -> Iterator[Range]:
    """Yield the ranges of ids in which rows may be that no seal covers yet, ascending."""
    ranges = UnsealedRange.objects.filter(source=source).order_by("first_id")
    for first, last in ranges.values_list("first_id", "last_id"):
        yield first, END if last is None else last
