"""Deletes in bounded batches. A row that a rule of the database keeps stays alone and is told.

It may be a trigger of theirs, or a foreign key to the row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import QuerySet

from opsconsole.kit import activity
from opsconsole.kit.changed_rows import RowKept
from opsconsole.kit.counting import exactly
from opsconsole_worker import refusals

BATCH = 5_000
# So many rows are found that fail alone. After that, a batch that is refused stays whole.
MOST_REFUSED = 20


@dataclass
class KeptRows:
    """What could not be deleted, in a sentence per kind of row and rule."""

    sentences: list[str] = field(default_factory=list)

    def note(self, subject: str, refused: Counter[str]) -> None:
        """Keep and log how many rows of this kind each rule kept."""
        for rule, count in refused.items():
            activity.done("rows kept", level=logging.WARNING, subject=subject, rows=count, rule=rule)
            self.sentences.append(
                f"{subject}: {exactly(count, 'row')} could not be removed, by {rule}. Let the rule allow it, or remove them by hand; "
                "the next run tries again."
            )


def delete(rows: QuerySet[Any], subject: str, kept: KeptRows) -> int:
    """Delete these rows, each tried once; return how many were. Raise what is no refusal of a row."""
    refused: Counter[str] = Counter()
    total, page = 0, _page(rows)
    while page:
        total += _delete(rows, page, refused)
        page = _page(rows.filter(pk__gt=page[-1])) if len(page) == BATCH else []
    kept.note(subject, refused)
    return total


def _page(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])


def _delete(rows: QuerySet[Any], ids: Sequence[Any], refused: Counter[str]) -> int:
    some = rows.filter(pk__in=ids)
    try:
        with transaction.atomic():
            deleted, by_model = some.delete()
    except DatabaseError as error:
        refusal = refusals.of(error)
        if refusal is None:
            raise
        if len(ids) == 1 or refused.total() >= MOST_REFUSED:
            refused[refusal.rule] += len(ids)
            return 0
        middle = len(ids) // 2
        return _delete(rows, ids[:middle], refused) + _delete(rows, ids[middle:], refused)
    of_model = rows.model._meta  # noqa: SLF001 - Django's documented API
    if by_model.get(of_model.label, 0) < len(ids) and (left := some.count()):
        refused[RowKept(of_model.db_table).rule] += left
    return deleted
