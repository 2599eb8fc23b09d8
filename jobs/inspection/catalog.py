"""Tables and columns as PostgreSQL's catalogue describes them, read at the same cost for any number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection, transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_QUERY_MS = 2_000
# What no row, policy or view of somebody else causes: a lost connection, or a mistake in the query.
_NOT_THEIRS = ("08", "57P", "42601", "42703")


@dataclass(frozen=True)
class Column:
    """A column. ``type`` has no length; ``enum`` stands for any enum, and a domain counts as its base type.

    Not one over an enum: PostgreSQL compares its values with no word, not even with a constant.
    """

    name: str
    type: str
    declared: str
    nullable: bool
    default: str | None


@dataclass(frozen=True)
class Table:
    oid: int
    schema: str
    name: str
    kind: str
    owner: str
    owned: bool
    row_security: bool
    estimate: int
    columns: dict[str, Column]


def rows(sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall())


def value(sql: str, parameters: Sequence[Any] = ()) -> Any:
    return rows(sql, parameters)[0][0]


def look(sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]] | None:
    """Query rows for two seconds at most; return None if the database refuses it.

    The time may be over, the role may lack the privilege, or a policy, a view or a foreign server may fail.
    """
    try:
        with transaction.atomic():
            rows(f"SELECT set_config('statement_timeout', '{MOST_QUERY_MS}', true)")
            return rows(sql, parameters)
    except DatabaseError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state is None or state.startswith(_NOT_THEIRS):
            raise
        return None


def table(name: str) -> Table | None:
    """Return the table that the search path finds, or None."""
    matches = rows(
        "SELECT c.oid, n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner),"
        "       pg_has_role(c.relowner, 'USAGE'), row_security_active(c.oid), greatest(c.reltuples, 0)::bigint"
        "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)",
        [name],
    )
    return Table(*(*matches[0], _columns(matches[0][0]))) if matches else None


def _columns(oid: int) -> dict[str, Column]:
    matches = rows(
        "SELECT a.attname,"
        "       CASE WHEN base.typtype = 'e' AND t.typtype = 'd' THEN 'domain over an enum'"
        "            WHEN base.typtype = 'e' THEN 'enum' ELSE btrim(format_type(base.oid, NULL), '\"') END,"
        "       format_type(a.atttypid, a.atttypmod), NOT (a.attnotnull OR t.typnotnull),"
        "       coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault,"
        "                CASE WHEN a.attidentity <> '' THEN 'identity' END)"
        "  FROM pg_attribute a"
        "  JOIN pg_type t ON t.oid = a.atttypid"
        "  JOIN pg_type base ON base.oid = coalesce(nullif(t.typbasetype, 0), t.oid)"
        "  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        [oid],
    )
    return {row[0]: Column(*row) for row in matches}


def quoted(name: str) -> str:
    """Return a name for a statement, quoted where it must be."""
    return str(value("SELECT quote_ident(%s)", [name]))


def place(of: Table) -> str:
    """Return a table with its schema for a statement."""
    return f"{quoted(of.schema)}.{quoted(of.name)}"
