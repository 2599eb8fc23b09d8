"""The search path of the console's sessions: PostgreSQL passes over schemas that don't exist, so a typing error hides a table."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from opsconsole.kit import own_schema, session_defaults

if TYPE_CHECKING:
    from collections.abc import Iterator


def inspect() -> Iterator[Finding]:
    """Find the schemas of the path, as it is at the start of a session, that are not there."""
    path, usual = catalog.rows(
        "SELECT reset_val, reset_val = boot_val FROM pg_settings WHERE name = 'search_path'"
    )[0]
    schemas = _schemas()
    names = own_schema.names_in(path)
    passed = {own_schema.SESSION_USER, own_schema.name(), *schemas}
    missing = [name for name in names if name not in passed]
    if usual or not missing:
        return
    meant = {name: get_close_matches(name, schemas, n=1) for name in missing}
    similar = [catalog.quoted(name) for names in meant.values() for name in names]
    yield Finding(
        id="search-path",
        severity=Severity.WARNING,
        subject="search_path",
        found=f"it names {', '.join(map(catalog.quoted, missing))}, and there is no such schema: it is passed over"
        + (f". There is {', '.join(similar)}" if similar else ""),
        wanted="schemas that exist",
        action=_corrected([each for name in names for each in meant.get(name, [name])]),
    )


def leading_to(schema: str) -> str:
    """Return the SQL with which sessions of the console look into one more schema."""
    path = own_schema.names_in(str(catalog.value("SELECT current_setting('search_path')")))
    others = [name for name in path if name in set(_schemas()) - {own_schema.name(), schema}]
    return setting([own_schema.name(), schema, *others])


def _schemas() -> list[str]:
    return [name for (name,) in catalog.rows("SELECT nspname::text FROM pg_namespace ORDER BY nspname")]


def _corrected(names: list[str]) -> str:
    if "search_path" in {each.name for each in session_defaults.wanted()}:
        return "Correct search_path in DATABASE_URL."
    return setting(names)


def setting(names: list[str]) -> str:
    """Return the SQL that gives the role that logs in here this search path in its database."""
    role, database = catalog.rows("SELECT quote_ident(session_user), quote_ident(current_database())")[0]
    path = ", ".join(catalog.quoted(name) for name in dict.fromkeys(names))
    return f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {path};"
