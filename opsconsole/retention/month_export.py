"""The export of a month of the timeline: one compressed file of JSON lines, read back before anything is dropped.

Each line holds the very texts that were sealed, so that the file proves itself against the seals. It gets its name when it
is complete, and the same month is written to the same name again: what an interrupted run left is replaced as a whole.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import connection, transaction

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.retention.months import Month
from opsconsole.seals import exported, id_ranges
from opsconsole.seals.canonical import ContentHash
from opsconsole.seals.id_ranges import Range
from opsconsole.seals.rows import TABLES, SealedRow

PAGE = 2_000
COLUMNS = exported.FILES[AuditSeal.Source.TIMELINE].columns


class ExportFailed(OpsConsoleError):
    """A month could not be exported; nothing was dropped."""


@dataclass(frozen=True)
class Content:
    """What a month holds: how many events, which, and the hash of their canonical content by id."""

    rows: int
    ranges: list[Range]
    hash: str


def pages(month: Month) -> Iterator[list[SealedRow]]:
    """Yield the events of a month by id, from its partition alone: ids of several months may mix."""
    texts = ", ".join(TABLES[AuditSeal.Source.TIMELINE].columns)
    statement = (
        f"SELECT entry.id, entry.at::text, {texts} FROM {month.place} AS entry"  # noqa: S608 - names
        f" WHERE (entry.id, entry.at) > (%s, %s::timestamptz) ORDER BY entry.id, entry.at LIMIT {PAGE}"
    )
    after = (-(2**63), "-infinity")
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, after)
            page = cursor.fetchall()
        if page:
            yield [SealedRow(row[0], row[2:]) for row in page]
        if len(page) < PAGE:
            return
        after = (page[-1][0], page[-1][1])


def write(month: Month, file: Path | None) -> Content:
    """Read a month, and write it to this file unless there is none; return what it holds."""
    if file is None:
        return _read(month, None)
    unfinished = file.with_name(f"{file.name}.part")
    try:
        with unfinished.open("wb") as raw:
            # Without a time, so that the same events are the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                content = _read(month, packed)
            raw.flush()
            os.fsync(raw.fileno())
        check(unfinished, content)
        unfinished.rename(file)
        _sync(file.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ExportFailed(f"{file} could not be written: {error.strerror or error}.") from error
    return content


@transaction.atomic
def _read(month: Month, packed: gzip.GzipFile | None) -> Content:
    content = ContentHash()
    ranges: list[Range] = []
    for page in pages(month):
        content.add(row.texts for row in page)
        ranges = id_ranges.joined(ranges, id_ranges.of_ids(row.id for row in page))
        if packed:
            lines = (json.dumps(dict(zip(COLUMNS, row.texts, strict=True))) + "\n" for row in page)
            packed.write("".join(lines).encode("ascii"))
    # Nothing was written. What is taken back is the lock: nobody who changes the table waits for an upload.
    transaction.set_rollback(True)
    return Content(content.count, ranges, content.text())


def check(file: Path, wanted: Content) -> None:
    """Read a file back and compare it; raise ``ExportFailed`` if it does not hold exactly these events."""
    content = ContentHash()
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            for line in lines:
                event = json.loads(line)
                content.add([[event[column] for column in COLUMNS]])
    except (EOFError, KeyError, TypeError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise ExportFailed(f"{file.name} can't be read back: {error}.") from error
    if (content.count, content.text()) != (wanted.rows, wanted.hash):
        raise ExportFailed(f"{file.name} was read back and does not hold what was written.")


def digest(file: Path) -> str:
    """Return the SHA-256 of a file as it lies there."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Let the new name survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
