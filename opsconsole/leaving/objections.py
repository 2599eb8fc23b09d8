"""Why an uninstall does not begin: each reason with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from opsconsole.leaving import own_objects
from opsconsole.leaving.plan import Plan


def find(plan: Plan) -> Iterator[str]:
    """Yield what of others would break, and what the present role may not do."""
    contract = [*plan.columns, *plan.dropped_tables, *{index.table for index in plan.indexes}]
    for table, owner in own_objects.strange_owners([*plan.own.tables, *contract]).items():
        yield f"The table {table} belongs to {owner}: let OPSCONSOLE_OWNER_DATABASE_URL name that role, or a member of it."
    for user in own_objects.dependents([*plan.own.tables, *plan.dropped_tables]):
        yield f"{_capital(user)} depends on a table that goes. Drop it, or let it do without."
    for table, columns in plan.columns.items():
        for user in own_objects.column_dependents(table, columns)[0]:
            yield f"{_capital(user)} depends on a column of the console on {table}. Drop it, or let it do without."
    for routine in plan.functions:
        for user in own_objects.routine_dependents(routine):
            yield f"{_capital(user)} depends on {routine}. Drop it, or let it do without."


def going_along(plan: Plan) -> Iterator[str]:
    """Yield what of others goes with a column because PostgreSQL drops it, such as an index on it."""
    for table, columns in plan.columns.items():
        for name in own_objects.column_dependents(table, columns)[1]:
            yield f"{_capital(name)} goes as well: it is on a column of the console."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
