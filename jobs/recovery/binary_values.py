"""Values to and from PostgreSQL as they are, where there are thousands of them in a statement."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from psycopg import Cursor
from psycopg.pq import Format


def binary_cursor() -> CursorWrapper:
    """A cursor for long lists: it binds them on the server, and neither side spells out and reads each value.

    Django's own quotes values into the statement, and reads each time in Python: ten times as long. Types that the
    database itself defines come as bytes: ask for none, or cast them.
    """
    connection.ensure_connection()
    plain: Any = Cursor(connection.connection)
    plain.format = Format.BINARY
    return connection.make_debug_cursor(plain) if connection.queries_logged else connection.make_cursor(plain)
