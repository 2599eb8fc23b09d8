"""The canonical form of rows and of seals, whose SHA-256 is what a seal keeps. It must never change.

A row is a list of texts as PostgreSQL writes them: numbers in decimal, times in UTC with six decimals, ``jsonb`` in
PostgreSQL's own normal form, in which neither the order of keys nor the spelling of a number depends on who wrote it.
Neither Django's classes nor the session's time zone or date style have a part in it. Each text is written with its
length before it, and NULL unlike the empty text, so that no two different rows have the same form.

A new form is a new ``FORM``, beside this one: the seals of this one must stay readable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FORM = "opsconsole seal 1"
Texts = Sequence[str | None]


def encoded(texts: Texts) -> bytes:
    """Return these texts as bytes: '3:abc,' for a text, '-,' for NULL."""
    parts = []
    for text in texts:
        if text is None:
            parts.append(b"-,")
        else:
            data = text.encode("utf-8", "surrogatepass")
            parts.append(b"%d:%b," % (len(data), data))
    return b"".join(parts)


class ContentHash:
    """The hash of rows in the order of their ids, in constant memory."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, rows: Iterable[Texts]) -> None:
        for row in rows:
            row_bytes = encoded(row)
            self._hash.update(b"%d:%b," % (len(row_bytes), row_bytes))
            self.count += 1

    def text(self) -> str:
        return self._hash.hexdigest()


class SealFacts(NamedTuple):
    """What the hash of a seal is over. ``sealed_at`` is a time in UTC as ``opsconsole.seals.rows`` writes times."""

    number: int
    previous: str
    source: str
    existing: bool
    ids: str
    row_count: int
    content: str
    sealed_at: str

    def hash(self) -> str:
        kind = "existing" if self.existing else "new"
        texts = [FORM, str(self.number), self.previous, self.source, kind, self.ids, str(self.row_count)]
        return hashlib.sha256(encoded([*texts, self.content, self.sealed_at])).hexdigest()
