"""Times that PostgreSQL can hold and Python can't: 'infinity', '-infinity', years after 9999 and before Christ.

Programs of others write them, for example as a start that never comes. One such row must not fail the page or the sweep
that reads it, so it is read as the latest or earliest time with which Python can still calculate.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.backends.postgresql.psycopg_any import BaseTzLoader
from django.db.models import Case, DateTimeField, F, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.dateparse import parse_datetime
from psycopg import DataError

EARLIEST = datetime(1000, 1, 1, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class BoundedTimeLoader(BaseTzLoader):  # type: ignore[misc]  # missing in the stubs
    """Loads a timestamptz in UTC, as Django does."""

    timezone = UTC

    def load(self, data: Any) -> datetime:
        try:
            loaded: datetime = super().load(data)
        except DataError:
            return in_place_of(bytes(data).decode())
        return loaded


def in_place_of(text: str) -> datetime:
    """Return what stands for a time that Python can't hold, as PostgreSQL writes it."""
    return EARLIEST if text.startswith("-") or text.endswith("BC") else LATEST


def far(field: str) -> Q:
    """Return the condition that this field of a row has such a time."""
    return Q(**{f"{field}__lt": EARLIEST}) | Q(**{f"{field}__gt": LATEST})


def calculable(time: Combinable | str) -> Case:
    """Return a time of a row with which PostgreSQL can calculate: next to its first and last time, it can't."""
    read = F(time) if isinstance(time, str) else time
    return Case(
        When(GreaterThan(read, Value(LATEST)), then=Value(LATEST)),
        When(LessThan(read, Value(EARLIEST)), then=Value(EARLIEST)),
        default=read,
        output_field=DateTimeField(),
    )


def named_moment(text: str) -> datetime | None:
    """Return the time, with its zone, that an address names; None where it names none that can be calculated with."""
    try:
        named = parse_datetime(text)
        # A time zone can move the first and the last day out of the calendar's range.
        named = named.astimezone(UTC) if named and named.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return named if named and EARLIEST <= named <= LATEST else None


def begin_of(at: datetime, step: timedelta) -> datetime:
    """Return when the step began in which this time is: in UTC, so that days begin at midnight."""
    seconds = step.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)
