"""Dropping a month of the timeline whole: exported, read back, compared with its seals, told in the audit, and only then dropped.

Everything is one transaction, so a run that is killed leaves the month, and at most a file that the next run replaces. The
owner's function judges again by itself: the age, that every event is sealed, and that none was added since the export.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure

from opsconsole.kit import activity, audit, removals
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.counting import exactly
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.kit.retention_models import DroppedRows
from opsconsole.retention import archive, months
from opsconsole.retention.archive import Archived
from opsconsole.retention.month_export import ExportFailed
from opsconsole.retention.months import Month
from opsconsole.seals import chain, drops, id_ranges, rows, verification
from opsconsole.seals.canonical import ContentHash
from opsconsole.seals.chain import Seal
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.report import Report

SUBJECT = "events"
# A try waits for less than a second; meanwhile, writers of the timeline wait behind it.
TRIES, PAUSE_SECONDS = 10, 0.5
DROP_MS = 600_000
# A large file is read back, uploaded and fetched for longer than a session may say nothing otherwise.
SILENT = "6h"
TIMELINE = AuditSeal.Source.TIMELINE
WAITS = (
    "It is due, and waits for OPSCONSOLE_ARCHIVE, which says where it is exported to. Nothing was dropped."
)
_DROP = "SELECT drop_job_event_month(%s, %s, %s, %s, %s, %s, %s)"


class NotDropped(Exception):
    """A month stays for now; the sentence says why."""


@dataclass(frozen=True)
class Result:
    """What happened to one month that was due. ``rows`` is None where it stays; ``waits``: for somebody to choose an archive."""

    month: str
    rows: int | None
    sentence: str
    waits: bool = False


def drop_due(by: str = removals.SCHEDULE) -> Iterator[Result]:
    """Drop the months that are due, oldest first; stop at the first that stays."""
    if not archive.is_chosen():
        for month in months.due():
            yield Result(month.name, None, WAITS, waits=True)
        return
    for month in months.due():
        result = _try(month, by)
        yield result
        if result.rows is None:
            return


def _try(month: Month, by: str) -> Result:
    try:
        with transaction.atomic():
            _alone()
            dropped = _drop(month, by)
    except (NotDropped, ExportFailed) as error:
        return _stays(month, str(error))
    except DatabaseError as error:
        # Whether it was dropped may be unknown.
        if trouble_behind(error) is Trouble.AWAY:
            raise
        return _stays(month, f"The database refused: {first_line(error)}.")
    return Result(month.name, dropped, f"{exactly(dropped, 'event')} dropped.")


def _stays(month: Month, why: str) -> Result:
    activity.done("month kept", month=month.name, why=why)
    return Result(month.name, None, f"{why} Nothing was dropped.")


def _alone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.EVENT_MONTHS])
        if not cursor.fetchone()[0]:
            raise NotDropped("Another process drops months of the timeline.")
        cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [SILENT])
        # The export goes on behind a time that the database printed.
        cursor.execute("SELECT set_config('DateStyle', 'ISO', true)")


def _drop(month: Month, by: str) -> int:
    earlier = DroppedRows.objects.filter(name=month.name).count()
    number = f"-{earlier + 1}" if earlier else ""
    kept = archive.keep(month, f"{month.name}{number}.jsonl.gz")
    left_over = _compare(kept.content.ranges)
    record: dict[str, Any] = {
        "source": str(TIMELINE),
        "name": month.name,
        "ids": id_ranges.as_text(kept.content.ranges),
        "row_count": kept.content.rows,
        "content": kept.content.hash,
        "file": kept.place,
        "left_over": left_over,
        "by": by,
    }
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                _tell(month, record, kept)
                if not _call(month, record):
                    raise NotDropped("It is no longer there.")
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable | DeadlockDetected | SerializationFailure):
                raise
            if isinstance(error.__cause__, SerializationFailure):
                raise NotDropped(f"Events were added to it meanwhile: {first_line(error)}.") from error
            if not tries_left:
                raise NotDropped("Other transactions hold the timeline. The next run tries again.") from error
            time.sleep(PAUSE_SECONDS * (0.5 + random.random()))
        else:
            break
    return kept.content.rows


def _compare(dropped: list[Range]) -> dict[str, str]:
    """Compare every seal of these events with its rows; return the hash of what stays of those that keep some rows."""
    if not dropped:
        return {}
    report = Report(drops=drops.every())
    gone = id_ranges.joined(drops.read(TIMELINE).ranges, dropped)
    sealed: list[Range] = []
    left_over = {}
    for seal in _seals_over(dropped):
        verification.check_rows(report, seal)
        covered = id_ranges.from_text(seal.ids)
        sealed = id_ranges.joined(sealed, covered)
        if left := drops.subtracted(covered, gone):
            left_over[str(seal.number)] = _hash(left)
    if report.breaks:
        raise NotDropped(f"It is not as it was sealed: {report.breaks[0].sentence}")
    if unsealed := drops.subtracted(dropped, sealed):
        raise NotDropped(f"{exactly(id_ranges.size(unsealed), 'event')} of it is not sealed yet.")
    return left_over


def _seals_over(dropped: list[Range]) -> Iterator[Seal]:
    numbers = AuditSeal.objects.filter(
        source=TIMELINE, first_id__lte=dropped[-1][1], last_id__gte=dropped[0][0]
    ).values_list("number", flat=True)
    for number in numbers.order_by("number"):
        for page in chain.pages(number, number):
            for seal in page:
                covered = id_ranges.from_text(seal.ids)
                if id_ranges.size(drops.subtracted(covered, dropped)) < id_ranges.size(covered):
                    yield seal


def _hash(ranges: list[Range]) -> str:
    content = ContentHash()
    for page in rows.read_all(TIMELINE, ranges, verification.ROWS_PER_PAGE):
        content.add(row.texts for row in page)
    return content.text()


def _tell(month: Month, record: dict[str, Any], kept: Archived) -> None:
    """Write the line of the audit that quotes the record, and the record of removals."""
    to = f", exported to {kept.place} (SHA-256 {kept.digest})" if kept.place else ", without an export"
    audit.log_without_user(
        f"retention ({record['by']})",
        f"Dropped {month.name}: {exactly(kept.content.rows, 'event')} whose content is {kept.content.hash}{to}. "
        f"Record {drops.fingerprint(record)}.",
        why=audit.NOT_ASKED,
    )
    removals.note({SUBJECT: kept.content.rows}, record["by"])
    activity.done("month dropped", month=month.name, rows=kept.content.rows, file=kept.place or None)


def _call(month: Month, record: dict[str, Any]) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(DROP_MS)])
        cursor.execute(
            _DROP,
            [
                month.first,
                record["row_count"],
                record["ids"],
                record["content"],
                record["file"],
                json.dumps(record["left_over"]),
                record["by"],
            ],
        )
        done: bool = cursor.fetchone()[0]
        return done
