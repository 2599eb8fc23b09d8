"""The record of what the console changed in the database that it was attached to, so that it can be taken back.

It is a table without a model: it exists before the first migration, which fills it, and only ``uninstall`` drops it. The
console's runtime role needs nothing of it. A row is written in the transaction of the change, or before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from opsconsole.kit import inherited_grants
from opsconsole.kit.storable import json_text

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "opsconsole_attachment"
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    kind text NOT NULL,
    name text NOT NULL,
    content jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, name)
)"""


class Kind(StrEnum):
    """What a row is about. All names are quoted, and those of tables and functions have their schema.

    ``TABLE``, ``SCHEMA``: the console created it. ``COLUMN``, ``INDEX``: it added it to a contract table. ``FUNCTION``: it
    replaced this one, or (content null) created it. ``PRIVILEGES``, ``SETTINGS``: what a role had before it was given more.
    ``DERIVED``: the rows were worked out for a console of an earlier version. ``LEAVING``: an uninstall began.
    """

    TABLE = "table"
    SCHEMA = "schema"
    COLUMN = "column"
    INDEX = "index"
    FUNCTION = "function"
    PRIVILEGES = "privileges"
    SETTINGS = "settings"
    DERIVED = "derived"
    LEAVING = "leaving"


@dataclass(frozen=True)
class Record:
    kind: Kind
    name: str
    content: dict[str, Any]


def exists(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TABLE])
        return bool(cursor.fetchone()[0])


def is_readable(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether there is a record that the role of this connection may read: the runtime role may not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(has_table_privilege(to_regclass(%s)::oid, 'SELECT'), false)", [TABLE])
        return bool(cursor.fetchone()[0])


def create(connection: BaseDatabaseWrapper) -> None:
    """Create the table beside the console's own ones, which others get nothing of."""
    with inherited_grants.taken_back(connection), connection.cursor() as cursor:
        cursor.execute(_CREATE)


def note(
    connection: BaseDatabaseWrapper,
    kind: Kind,
    name: str,
    content: dict[str, Any] | None = None,
    *,
    replace: bool = False,
) -> None:
    """Write a row. What was written first stays, unless ``replace``."""
    if not exists(connection):
        create(connection)
    conflict = "DO UPDATE SET content = excluded.content" if replace else "DO NOTHING"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (kind, name, content) VALUES (%s, %s, %s::jsonb) ON CONFLICT (kind, name) {conflict}",  # noqa: S608 - constants
            [kind, name, json_text(content or {})],
        )


def forget(connection: BaseDatabaseWrapper, kind: Kind, name: str) -> None:
    if exists(connection):
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {TABLE} WHERE kind = %s AND name = %s", [kind, name])  # noqa: S608 - constants


def read(connection: BaseDatabaseWrapper) -> list[Record]:
    """Return all rows in the order in which they were written; none where there is no table."""
    if not exists(connection):
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT kind, name, content::text FROM {TABLE} ORDER BY recorded_at, name")  # noqa: S608 - constants
        return [Record(Kind(kind), name, json.loads(content)) for kind, name, content in cursor.fetchall()]


def relation(connection: BaseDatabaseWrapper, name: str) -> str:
    """Return a table with its schema, quoted, as rows name it; '' where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%%I.%%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE pg_class.oid = to_regclass(%s)",
            [name],
        )
        row = cursor.fetchone()
    return row[0] if row else ""


def added_columns(connection: BaseDatabaseWrapper, table: str) -> set[str]:
    """Return the columns that the console has added to a contract table, as far as the role may read that."""
    if not is_readable(connection):
        return set()
    place = relation(connection, table)
    return {
        record.content["column"]
        for record in read(connection)
        if record.kind == Kind.COLUMN and record.content.get("table") == place
    }
