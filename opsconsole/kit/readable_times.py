"""Times that PostgreSQL stores and Python can't hold: infinite ones, and those beyond the years 1 to 9999."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import Q

FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def unreadable(field: str) -> Q:
    """Return the condition that a row can't be read because of this field."""
    return Q(**{f"{field}__lt": FIRST}) | Q(**{f"{field}__gt": LAST})
