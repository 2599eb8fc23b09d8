"""A cursor with binary values, for statements with thousands of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connection
from django.db.backends.utils import CursorWrapper
from psycopg import Cursor
from psycopg.pq import Format
from psycopg.types.string import TextBinaryLoader

from opsconsole_worker.database import unchecked_texts
from opsconsole_worker.database.unchecked_texts import SendsUtf8

# For the loader of all types without one of their own.
UNKNOWN_TYPE = 0
# The rows of one statement.
BATCH = 1_000
Row = TypeVar("Row")


class _Cursor(SendsUtf8, Cursor[Any]):
    pass


def binary_cursor() -> CursorWrapper:
    """Return a cursor for long lists, which binds values on the server in binary form.

    Django's own cursor quotes values into the statement and parses each time in Python, which takes ten times as long.
    Types defined in the database itself are read as text, which the binary form of enums and of citext is: an id may be one.
    Don't select others, or cast them.
    """
    connection.ensure_connection()
    plain: Any = _Cursor(connection.connection)
    if not unchecked_texts.is_unchecked(plain.connection):
        plain.adapters.register_loader(UNKNOWN_TYPE, TextBinaryLoader)
    plain.format = Format.BINARY
    return connection.make_debug_cursor(plain) if connection.queries_logged else connection.make_cursor(plain)


def insert_lists(
    statement: str, rows: Sequence[Row], lists: Callable[[Sequence[Row]], Mapping[str, Any]]
) -> None:
    """Insert many rows, in their order, by a statement that reads a list per column; ``lists`` returns those of some rows."""
    for start in range(0, len(rows), BATCH):
        with binary_cursor() as cursor:
            cursor.execute(statement, lists(rows[start : start + BATCH]))
