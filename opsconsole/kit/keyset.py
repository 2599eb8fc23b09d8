"""Pages by keyset: rows newest first, from the last row of the page before, so that every page costs the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)


class NoCursor(ValueError):
    """A text is no cursor."""


class Cursor(NamedTuple):
    """The last row of a page: its time, which may be null, and its key. Without a key, all rows of that time are before it."""

    at: datetime | None
    key: Any = None

    def text(self) -> str:
        """Return the cursor as an answer carries it."""
        content = json.dumps([self.at and self.at.isoformat(), None if self.key is None else str(self.key)])
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read(text: str, parse: Callable[[str], Any]) -> Cursor:
    """Return the cursor that ``Cursor.text`` wrote; ``parse`` reads its key. Raise ``NoCursor`` for any other text."""
    try:
        at, key = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        moment = None if at is None else _moment(at)
        parsed = parse(key) if isinstance(key, str) else None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NoCursor from error
    if parsed is None and (key is not None or moment is None):
        raise NoCursor
    return Cursor(moment, parsed)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise NoCursor
    # A time zone can move the first and the last day out of the calendar's range.
    return moment.astimezone(UTC)


def older(rows: QuerySet[Row], field: str, after: Cursor | None) -> QuerySet[Row]:
    """Return the rows newest first by (field, key), those behind the cursor. As in PostgreSQL, null comes first."""
    ordered = rows.order_by(f"-{field}", "-pk")
    if after is None:
        return ordered
    if after.at is None:
        return ordered.filter(
            Q(**{f"{field}__isnull": True}, pk__lt=after.key) | Q(**{f"{field}__isnull": False})
        )
    if after.key is None:
        return ordered.filter(**{f"{field}__lt": after.at})
    # Written so that the comparison that always holds bounds the index scan.
    behind = Q(**{f"{field}__lt": after.at}) | Q(pk__lt=after.key)
    return ordered.filter(behind, **{f"{field}__lte": after.at})


def next_of(rows: Sequence[Row], field: str, limit: int) -> Cursor | None:
    """Return the cursor for the rows after these, read with one row more than ``limit``; None when there are none."""
    return Cursor(getattr(rows[limit - 1], field), rows[limit - 1].pk) if len(rows) > limit else None
