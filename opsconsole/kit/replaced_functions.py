"""The operation of migrations that replaces an SQL function, which may be somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.migrations.operations.base import Operation

from opsconsole.kit import (
    contract_tables,
    function_grants,
    kept_functions,
    mapped_operations,
    mapping,
    own_schema,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class ReplaceFunction(Operation):
    """Create an SQL function in the schema of a contract table, replacing one with the same name and arguments.

    It runs with the rights of its owner, so that a caller needs no other privilege than EXECUTE, and looks for tables in
    the console's own schema only: ``FROM`` a contract table is completed with the schema of that table. ``create`` is the
    statement, with ``{schema}`` for the schema of the table ``beside`` and ``{search_path}`` for the path to pin.

    Whoever was granted the replaced function by name may execute the new one; nobody else may, neither PUBLIC nor roles
    that have it by default privileges. ``inherited``: those roles lose it also if the replaced function is the console's own.
    Reversing restores ``before``, the statement of an earlier migration; without one, it drops the function and puts back
    the one that was replaced, as it was.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(
        self,
        name: str,
        *,
        arguments: str,
        beside: str,
        create: str,
        before: str = "",
        inherited: bool = False,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.beside = beside
        self.create = create
        self.before = before
        self.inherited = inherited or not before

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the state alone: functions are not part of it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._replace_by(self.create, schema_editor)

    def _replace_by(self, statement: str, schema_editor: BaseDatabaseSchemaEditor) -> None:
        connection = schema_editor.connection
        with transaction.atomic(using=connection.alias):
            schema, search_path = self._place(connection)
            routine = f"{schema}.{self.name}({self.arguments})"
            allowed = function_grants.by_name(connection, routine, inherited=self.inherited)
            if not self.before and not schema_editor.collect_sql:
                kept_functions.keep(connection, routine)
            schema_editor.execute(f"DROP ROUTINE IF EXISTS {routine}")
            create = self._qualified(statement.format(schema=schema, search_path=search_path), connection)
            schema_editor.execute(create, params=None)
            schema_editor.execute(f"ALTER FUNCTION {routine} SECURITY DEFINER")
            function_grants.settle(schema_editor, routine, allowed)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if self.before:
            self._replace_by(self.before, schema_editor)
            return
        schema, _ = self._place(schema_editor.connection)
        routine = f"{schema}.{self.name}({self.arguments})"
        if schema_editor.collect_sql:
            schema_editor.execute(f"DROP FUNCTION IF EXISTS {routine}")
        else:
            kept_functions.put_back(schema_editor.connection, routine)

    def describe(self) -> str:
        return f"Create or replace the function {self.name}"

    def _place(self, connection: BaseDatabaseWrapper) -> tuple[str, str]:
        """Return the table's schema and the path to pin, both quoted: where the console's own tables are, and nothing else."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT quote_ident(coalesce((SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                "                              WHERE pg_class.oid = to_regclass(%s)), current_schema())),"
                "       (SELECT string_agg(quote_ident(name), ', ' ORDER BY place)"
                "          FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)"
                "         WHERE name = %s OR name = (SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                "                                     WHERE pg_class.oid = to_regclass('django_migrations')))",
                [mapping.current().sql(self.beside), own_schema.name()],
            )
            schema, path = cursor.fetchone()
        return schema, f"pg_catalog, {path}, pg_temp"

    def _qualified(self, statement: str, connection: BaseDatabaseWrapper) -> str:
        """Complete the names of contract tables: strangers may be able to create objects in their schema.

        Where a table differs from the contract, the statement reads its rows as the contract has them.
        """
        for contract in sorted(contract_tables.named):
            table = mapping.current().table(contract)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT quote_ident(nspname) || '.' || quote_ident(relname)"
                    "  FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = to_regclass(%s)",
                    [table.sql],
                )
                named = cursor.fetchone()
            if named:
                statement = mapped_operations.of_this_database(
                    statement, table, named[0], contract_tables.columns_of(connection, table.sql)
                )
        return statement
