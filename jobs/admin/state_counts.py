"""The counts beside the states of a list: exact up to a thousand, above it "1,000+", for a few milliseconds each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from opsconsole.kit.counting import figure

COUNTED_TO = 1_000


@dataclass(frozen=True)
class StateCounts:
    """A query of how many rows are in each of these states, compiled."""

    states: tuple[str, ...]
    sql: str
    params: tuple[Any, ...]

    def read(self) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.params)
            numbers = cursor.fetchone() or ()
        return {state: figure(number, COUNTED_TO) for state, number in zip(self.states, numbers, strict=True)}


def of_all(rows_by_state: Mapping[str, QuerySet[Any]]) -> dict[str, str]:
    """Return how many rows are in each state, by an index for each, in one statement."""
    return compiled(rows_by_state).read()


def compiled(rows_by_state: Mapping[str, QuerySet[Any]]) -> StateCounts:
    """Return the query that counts them."""
    counts: list[str] = []
    params: list[Any] = []
    states: list[str] = []
    for state, rows in rows_by_state.items():
        try:
            sql, given = rows.order_by().values("pk")[: COUNTED_TO + 1].query.sql_with_params()
        except EmptyResultSet:
            continue
        counts.append(f"(SELECT count(*) FROM ({sql}) AS counted)")  # noqa: S608 - a query of Django
        params += given
        states.append(state)
    return StateCounts(tuple(states), f"SELECT {', '.join(counts)}", tuple(params))


def among_first(rows: QuerySet[Any], column: str) -> dict[str, str]:
    """Return how many of these rows have each value of a column, such as "12", or "12+" where there may be more.

    The rows are read in the order of the list, by its index, no further than ``COUNTED_TO``.
    """
    numbers = Counter(rows.values_list(column, flat=True)[: COUNTED_TO + 1])
    more = "+" if numbers.total() > COUNTED_TO else ""
    return {str(value): f"{number:,}{more}" for value, number in numbers.items()}
