"""The schema of the console's own tables, and the search path that looks there first.

Statements name tables without a schema: contract tables are found in whichever schema they are, and so are the tables of
a console that was installed before it had a schema of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from psycopg import sql
from psycopg.rows import scalar_row

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\s",]+)')
SESSION_USER = "$user"
PUBLIC = "public"


def name() -> str:
    return str(settings.OPSCONSOLE_SCHEMA)


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def names_in(path: str) -> list[str]:
    """Return the schemas that a search path names, as the catalogue spells them."""
    return [inside.replace('""', '"') if inside else plain.lower() for inside, plain in _NAME.findall(path)]


def search_path(current: str, user: str) -> str:
    """Return the search path with the console's schema first, or the same text if it is first already."""
    names = names_in(current)
    # A schema with the name of the user rarely exists: it hides nothing from a console that lives in public.
    first = [each for each in names if each != SESSION_USER] if name() == PUBLIC else names
    if first and (first[0] == name() or (first[0] == SESSION_USER and user == name())):
        return current
    return ", ".join(quoted(each) for each in [name(), *(each for each in names if each != name())])


def path_for_transactions(session: Any) -> str | None:
    """Return the search path that each transaction of this psycopg connection must set, or None if its sessions have it.

    A pooler may use another session for each transaction, and some of them may be older than a default of the role. It is
    recognized by the process that it announces, which is not the one that serves.
    """
    current, pooled = session.info.parameter_status("search_path"), False
    if current is None:  # Servers before PostgreSQL 18, and poolers, don't report it.
        row = session.execute("SELECT current_setting('search_path'), pg_backend_pid()").fetchone()
        current, pooled = row[0], row[1] != session.info.backend_pid
    wanted = search_path(current, session.info.user)
    return wanted if pooled or wanted != current else None


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
    names = [inside.replace('""', '"') or plain for inside, plain in _NAME.findall(path)]
    return sql.SQL(", ").join(sql.Identifier(each) for each in names)
