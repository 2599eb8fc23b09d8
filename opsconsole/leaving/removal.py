"""The steps of an uninstall. Each one can be repeated, so that a run that was killed is finished by the next one.

The record of the attachment goes last, together with the console's own tables, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection

from opsconsole import database_roles, own_tables
from opsconsole.kit import attachment, kept_functions, own_schema, short_locks
from opsconsole.kit.attachment import Kind
from opsconsole.leaving import own_objects
from opsconsole.leaving.plan import Index, Plan, left_privileges

COMMAND = "uninstall"
Say = Callable[[str], None]


def give_settings_back(plan: Plan) -> list[str]:
    """Give the runtime role its session settings back, as that role; return the statements that the database refused."""
    return database_roles.carry_out(plan.settings)


def leave_contract_tables(plan: Plan, say: Say) -> None:
    """Take everything of the console's from the contract tables, and put back what it replaced."""
    attachment.note(connection, Kind.LEAVING, "all")
    for routine, is_theirs in plan.functions.items():
        kept_functions.put_back(connection, routine)
        say(f"Put back {routine} as it was." if is_theirs else f"Dropped the function {routine}.")
    for index in plan.indexes:
        say(f"Dropping the index {index.name}, which blocks nobody and waits for older transactions.")
        _drop_index(index)
    for table, columns in plan.columns.items():
        _drop_columns(table, columns)
        say(f"Dropped {', '.join(columns)} from {table}.")
    for table in plan.dropped_tables:
        say(_drop_created(table))


def take_privileges_back(plan: Plan, runtime_role: str, say: Say) -> list[str]:
    """Revoke what roles got for the console; return the statements that changed nothing, which is no error.

    What a role other than the owner granted, only that role can revoke.
    """
    for statement in plan.privileges:
        _revoke(statement)
    left = left_privileges(runtime_role, plan)
    for statement in plan.privileges:
        if statement not in left:
            say(f"{statement}.")
    return left


def _revoke(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, None)


def _drop_index(index: Index) -> None:
    if index.is_partitioned:
        _patiently(index.table, f"DROP INDEX IF EXISTS {index.name}")
        return
    with (
        short_locks.session(connection, lock_timeout=0, statement_timeout=0),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")


def _drop_columns(table: str, columns: list[str]) -> None:
    dropped = ", ".join(f"DROP COLUMN IF EXISTS {own_schema.quoted(name)}" for name in columns)
    _patiently(table, f"ALTER TABLE {table} {dropped}")


def _patiently(table: str, statement: str) -> None:
    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    short_locks.change_patiently(connection, table, change, command=COMMAND)


def _drop_created(table: str) -> str:
    def change() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")

    short_locks.change_patiently(connection, table, change, command=COMMAND)
    return f"Dropped the table {table}, which the console had created."


def drop_own(plan: Plan) -> list[str]:
    """Drop the console's tables with their functions and schemas, all at once; return the schemas that stay, and why."""
    kept: list[str] = []

    def change() -> None:
        kept.clear()
        functions = own_objects.shared_functions(plan.own.shared_tables)
        _leave_shared_tables(plan)
        functions += own_tables.functions(plan.own.place, plan.own.tables)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {', '.join(plan.own.tables)}")
            for routine in sorted({*functions}):
                cursor.execute(f"DROP FUNCTION {routine}")
            for schema in plan.own.schemas:
                if left := own_objects.left_in(schema):
                    kept.append(f"The schema {schema} stays, because it holds {', '.join(left)}.")
                else:
                    cursor.execute(f"DROP SCHEMA {schema}")

    short_locks.change_patiently(connection, "of the console", change, command=COMMAND)
    return kept


def _leave_shared_tables(plan: Plan) -> None:
    """Take the console's triggers, indexes and rows from tables of Django that another project uses as well."""
    shared = plan.own.shared_tables
    if not shared:
        return
    statements = [*own_objects.shared_triggers(shared)]
    statements += [f"DROP INDEX {name}" for name in own_objects.shared_indexes(shared)]
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("DELETE FROM django_migrations WHERE app = ANY (%s)", [list(own_objects.APPS)])
