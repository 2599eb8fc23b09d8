"""The chain of seals as it is stored: read in pages, and checked link by link."""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connection

from opsconsole.kit.audit_models import AuditSeal
from opsconsole.seals import id_ranges, rows
from opsconsole.seals.canonical import SealFacts

PAGE = 200


class Seal(NamedTuple):
    """A stored seal. ``sealed_at`` is the text that was hashed."""

    number: int
    previous: str
    hash: str
    source: str
    existing: bool
    ids: str
    row_count: int
    content: str
    sealed_at: str
    first_id: int
    last_id: int

    @property
    def name(self) -> str:
        return f"seal {self.number} ({self.source}, {self.sealed_at[:19]} UTC)"

    def fault(self) -> str:
        """Return what is wrong with the seal itself, or ''."""
        own_hash = SealFacts(**{name: getattr(self, name) for name in SealFacts._fields}).hash()
        try:
            ranges = id_ranges.from_text(self.ids)
        except ValueError:
            ranges = []
        if own_hash != self.hash or self.source not in rows.TABLES or not ranges:
            return "was altered: its hash does not fit it"
        # Outside the hash, and used to find the seal.
        if (ranges[0][0], ranges[-1][1]) != (self.first_id, self.last_id):
            return "was altered: its first and last id do not fit it"
        return ""


COLUMNS = ", ".join(
    rows.TIME.format("sealed_at") if field == "sealed_at" else field for field in Seal._fields
)


def pages(first: int = 1, last: int | None = None) -> Iterator[list[Seal]]:
    """Yield the stored seals with these numbers in pages, by number."""
    statement = (
        f"SELECT {COLUMNS} FROM audit_seals WHERE number >= %s"
        f" AND (%s::bigint IS NULL OR number <= %s) ORDER BY number LIMIT {PAGE}"
    )
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, [first, last, last])
            page = [Seal(*row) for row in cursor.fetchall()]
        if page:
            yield page
        if len(page) < PAGE:
            return
        first = page[-1].number + 1


def linked(first: int = 1, last: int | None = None) -> Iterator[tuple[Seal, str | None]]:
    """Yield the stored seals with these numbers, by number, each with the hash of the seal stored before it (None: there is none)."""
    before: Seal | None = None
    for page in pages(first - 1, last):
        for seal in page:
            if seal.number >= first:
                yield seal, before.hash if before and before.number == seal.number - 1 else None
            before = seal


def newest() -> Seal | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM audit_seals ORDER BY number DESC LIMIT 1")
        row = cursor.fetchone()
    return Seal(*row) if row else None


def anchored(anchor: str) -> Seal | None:
    """Return the seal that an anchor names by its hash, with or without its number before it ('812:ab12...')."""
    number, _, hash_text = anchor.strip().lower().rpartition(":")
    found = AuditSeal.objects.filter(hash=hash_text)
    if number:
        found = found.filter(number=int(number)) if number.isdecimal() else found.none()
    pk = found.values_list("pk", flat=True).first()
    return next(iter(next(pages(pk, pk), [])), None) if pk else None


def overlapping(source: str, first: int, last: int) -> Iterator[list[id_ranges.Range]]:
    """Yield what each seal of this source covers that may cover an id between these."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ids FROM audit_seals"
            " WHERE source = %s AND int8range(first_id, last_id, '[]') && int8range(%s, %s, '[]')",
            [source, first, last],
        )
        texts = [text for (text,) in cursor.fetchall()]
    for text in texts:
        try:
            yield id_ranges.from_text(text)
        except ValueError:  # The chain tells that this seal was altered.
            continue
