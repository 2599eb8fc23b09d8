"""Schemas that the console's role may not look into: PostgreSQL passes over them on the search path, without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from opsconsole.kit import mapping, own_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

# Those of the search path, and those that a statement names. ``hides``: one of the console's or of the contract's tables.
_CLOSED = """
SELECT quote_ident(nspname), quote_ident(current_user), EXISTS (
           SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid
              AND (nspname = %(own)s OR relname = ANY (%(tables)s) AND relkind IN ('r', 'p')))
  FROM pg_namespace
 WHERE nspname = ANY (%(schemas)s) AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE') ORDER BY nspname
"""


def inspect() -> Iterator[Finding]:
    """Find schemas that lack the privilege USAGE. As long as one hides a table, nothing can be said of that table."""
    tables = mapping.current().tables
    path = own_schema.names_in(str(catalog.value("SELECT current_setting('search_path')")))
    named = [table.schema for table in tables if table.schema is not None]
    given = {
        "own": own_schema.name(),
        "tables": [table.name for table in tables],
        "schemas": [own_schema.name(), *path, *named],
    }
    for schema, role, hides in catalog.rows(_CLOSED, given):
        yield Finding(
            id="schema-usage",
            severity=Severity.BLOCKER if hides else Severity.WARNING,
            subject=f"schema {schema}",
            found=f"the role {role} may not look into it"
            + (": it has tables that the console needs" if hides else ", and passes over it"),
            action=f"GRANT USAGE ON SCHEMA {schema} TO {role};",
        )
