"""The retention of the audit: old lines go by whole seals, through a function of the owner, which judges again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from opsconsole.kit import audit, removals
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.counting import exactly
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.retention import stored_days
from opsconsole.seals import chain, drops, id_ranges, rows, verification
from opsconsole.seals.canonical import ContentHash
from opsconsole.seals.chain import Seal
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.report import Report

SUBJECT = "audit lines"
FUNCTION = "delete_audit_lines(bigint[], text, text)"
SETTING, STORED_BY_DEFAULT = "AUDIT", 3650
LINES_PER_BATCH, SEALS_PER_BATCH, MOST_BATCHES = 1_000, 500, 20
AUDIT = AuditSeal.Source.AUDIT


class NotDeleted(Exception):
    """Old lines stay for now; the sentence says why."""


@dataclass
class Run:
    """What one run deleted, and why it stopped where old lines stay."""

    rows: int = 0
    why: str = ""


def kept_for() -> timedelta:
    """Return how long a line is kept: the longer of the setting and of what the owner stored."""
    stored = timedelta(days=stored_days.of(FUNCTION, STORED_BY_DEFAULT))
    return max(removals.kept(SETTING), stored)


def delete(by: str = removals.SCHEDULE) -> Run:
    """Delete the oldest lines in batches of whole seals. Each batch is a transaction with the line of the audit that tells it."""
    run = Run()
    try:
        for _ in range(MOST_BATCHES):
            with transaction.atomic():
                deleted = _delete_batch(by)
            run.rows += deleted
            if not deleted:
                break
    except NotDeleted as error:
        run.why = str(error)
    except DatabaseError as error:
        # Whether the last batch was deleted may be unknown.
        if trouble_behind(error) is Trouble.AWAY:
            raise
        run.why = f"The database refused: {first_line(error)}."
    return run


def _delete_batch(by: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.AUDIT_LINES])
        if not cursor.fetchone()[0]:
            return 0
        # Triggers can't be switched off while a line of the same transaction waits for its check.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    first = LogEntry.objects.annotate(is_old=Q(action_time__lt=Now() - kept_for())).order_by("pk").first()
    if first is None or not first.is_old:
        return 0
    dropped = drops.read(AUDIT)
    seals = _oldest(dropped, first.pk)
    if not seals:
        return 0
    ranges = id_ranges.joined(part for seal in seals for part in id_ranges.from_text(seal.ids))
    record: dict[str, Any] = {
        "source": str(AUDIT),
        "name": f"seals {seals[0].number} to {seals[-1].number}",
        "ids": ",".join(seal.ids for seal in seals),
        "row_count": sum(seal.row_count for seal in seals),
        "content": _checked(seals, ranges),
        "file": "",
        "left_over": {},
        "by": by,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT delete_audit_lines(%s, %s, %s)",
            [[seal.number for seal in seals], record["content"], by],
        )
        deleted = int(cursor.fetchone()[0])
    audit.log_without_user(
        f"retention ({by})",
        f"Deleted {exactly(deleted, 'line')} of the audit whose retention had ended ({record['name']}). "
        f"Record {drops.fingerprint(record)}.",
        why=audit.NOT_ASKED,
    )
    removals.note({SUBJECT: deleted}, by)
    return deleted


def _oldest(dropped: drops.Drops, first_id: int) -> list[Seal]:
    """Return the first seals whose lines are all old and all there, as many as a batch holds."""
    seals: list[Seal] = []
    total = 0
    present = AuditSeal.objects.filter(source=AUDIT, last_id__gte=first_id).order_by("last_id")
    numbers = present.values_list("number", "ids", "row_count")
    for number, ids, row_count in numbers.iterator(chunk_size=SEALS_PER_BATCH):
        wanted = id_ranges.from_text(ids)
        if not drops.subtracted(wanted, dropped.ranges):
            continue
        if (
            (seals and total + row_count > LINES_PER_BATCH)
            or len(seals) == SEALS_PER_BATCH
            or not _is_old(wanted)
        ):
            break
        seals += next(chain.pages(number, number))
        total += row_count
    return seals


def _is_old(ranges: list[Range]) -> bool:
    lines = LogEntry.objects.filter(pk__range=(ranges[0][0], ranges[-1][1]))
    return not lines.filter(action_time__gte=Now() - kept_for()).exists()


def _checked(seals: list[Seal], ranges: list[Range]) -> str:
    """Compare the seals with their lines; return the hash of all of these."""
    report = Report(drops=drops.every())
    for seal in seals:
        verification.check_rows(report, seal)
    if report.breaks:
        raise NotDeleted(f"Old lines are not as they were sealed, and stay: {report.breaks[0].sentence}")
    content = ContentHash()
    for page in rows.read_all(AUDIT, ranges, verification.ROWS_PER_PAGE):
        content.add(row.texts for row in page)
    return content.text()
