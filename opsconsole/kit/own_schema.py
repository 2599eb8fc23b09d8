"""The schema of the console's own tables, and the search path that looks there first.

Statements name tables without a schema: contract tables are found in whichever schema they are, and so are the tables of
a console that was installed before it had a schema of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from psycopg import sql
from psycopg.rows import scalar_row

from opsconsole_worker.database.search_path import (
    PUBLIC,
    SESSION_USER,
    for_transactions,
    names_in,
    quoted,
    with_first,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


__all__ = [
    "PUBLIC",
    "SESSION_USER",
    "contract_first",
    "identifiers",
    "name",
    "names_in",
    "path_for_transactions",
    "qualifier",
    "quoted",
    "search_path",
]


def name() -> str:
    return str(settings.OPSCONSOLE_SCHEMA)


def search_path(current: str, user: str) -> str:
    """Return the search path with the console's schema first, or the same text if it is first already."""
    return with_first(name(), current, user)


def path_for_transactions(session: Any) -> str | None:
    """Return the search path that each transaction of this psycopg connection must set, or None if its sessions have it."""
    return for_transactions(session, name())


@contextmanager
def contract_first(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Create tables in the first schema of others on the search path, for a part of a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('search_path'), quote_ident(coalesce("
            "    (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)"
            "      WHERE name <> %s ORDER BY place LIMIT 1), current_schema()))",
            [name()],
        )
        usual, contract = cursor.fetchone()
        cursor.execute("SELECT set_config('search_path', %s, true)", [contract])
        yield
        cursor.execute("SELECT set_config('search_path', %s, true)", [usual])


def qualifier(session: Any) -> str:
    """Return the prefix, such as ``"opsconsole".``, of the console's own tables for a session with any search path.

    It is empty while they are where an earlier version created them.
    """
    with session.cursor(row_factory=scalar_row) as cursor:
        own = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted(name())}.outbox"]).fetchone()
    return f"{quoted(name())}." if own else ""


def identifiers(path: str) -> sql.Composable:
    """Return a search path as SQL."""
    return sql.SQL(", ").join(sql.Identifier(each) for each in names_in(path))
