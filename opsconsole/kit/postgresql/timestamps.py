"""Times that PostgreSQL can hold and Python can't: 'infinity', '-infinity', years after 9999 and before Christ.

Programs of others write them, for example as a start that never comes. One such row must not fail the page or the sweep
that reads it, so it is read as the latest or earliest time with which Python can still calculate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.postgresql.psycopg_any import BaseTzLoader
from django.db.models import Q
from psycopg import DataError

EARLIEST = datetime(1000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
# 'infinity' in a handwritten statement that subtracts times, which PostgreSQL refuses for it.
FAR = "interval '1000 years'"


class BoundedTimeLoader(BaseTzLoader):  # type: ignore[misc]  # missing in the stubs
    """Loads a timestamptz in UTC, as Django does."""

    timezone = UTC

    def load(self, data: Any) -> datetime:
        try:
            loaded: datetime = super().load(data)
        except DataError:
            text = bytes(data)
            return EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else LATEST
        return loaded


def far(field: str) -> Q:
    """Return the condition that this field of a row has such a time."""
    return Q(**{f"{field}__lt": EARLIEST}) | Q(**{f"{field}__gt": LATEST})


def finite_in_statement(time: str) -> str:
    """Return the SQL of a time with which PostgreSQL can calculate, in place of an infinite one."""
    return (
        f"(CASE WHEN {time} IS NULL OR isfinite({time}) THEN {time} WHEN {time} > statement_timestamp()"
        f" THEN statement_timestamp() + {FAR} ELSE statement_timestamp() - {FAR} END)"
    )
