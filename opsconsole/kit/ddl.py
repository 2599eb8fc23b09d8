"""Migration operations that are safe on other people's live tables.

Contract tables belong to others. Locks on them are short and abandoned rather than waited for, indexes are built
concurrently, and nothing of theirs is dropped or altered, forwards or backwards. What they add is recorded
(``opsconsole.kit.attachment``), so that ``uninstall`` can take it away again.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import transaction
from django.db.migrations.operations.base import Operation

from opsconsole.kit import (
    attachment,
    function_grants,
    inherited_grants,
    job_ids,
    kept_functions,
    mapped_operations,
    mapping,
    own_schema,
    short_locks,
)
from opsconsole.kit.attachment import Kind
from opsconsole.kit.online_indexes import AddIndexOnline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

__all__ = ["AddIndexOnline", "EnsureTable", "ReplaceFunction"]
# Those that migrations have named so far; a migration is imported with all those before it.
_contract_tables: set[str] = set()


class EnsureTable(Operation):
    """Create a contract table if it is absent; otherwise add the columns that it lacks.

    It is created in the first schema of the search path that is not the console's own, and nobody inherits privileges on it.
    ``create`` is the CREATE TABLE statement of the contract's own columns; ``columns`` maps each column of ours to its
    type and default. Defaults are constants, which PostgreSQL stores in the catalogue without rewriting rows. The
    reverse operation does nothing: our columns may stay, and their rows must.

    A table to which OPSCONSOLE_MAPPING gives another name or other columns is somebody else's: it is never created. One that
    it calls absent is the console's own, in the console's schema.
    """

    reduces_to_sql = True
    reversible = True
    atomic = False

    def __init__(self, table: str, *, create: str, columns: Mapping[str, str]) -> None:
        self.table = table
        self.create = create
        self.columns = columns
        _contract_tables.add(table)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the state alone: it is defined by a separate operation."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        table = mapping.current().table(self.table)
        if schema_editor.collect_sql:
            if table.absent or not table.differs:
                schema_editor.execute(self.create, params=None)
            schema_editor.execute(self._add_columns(self.columns), params=None)
            return
        # The table may be in any schema of the search path, where CREATE TABLE IF NOT EXISTS would not find it.
        if not _exists(schema_editor.connection, table.sql):
            if table.differs and not table.absent:
                raise CommandError(
                    f"OPSCONSOLE_MAPPING names the table {table.sql} for {table.contract}, and there is none. "
                    "Nothing was changed. Correct its schema and its name."
                )
            self._create(schema_editor)
        missing = self._missing(schema_editor.connection)
        if missing:
            self._add(schema_editor.connection, table.sql, missing)

    def _add(self, connection: BaseDatabaseWrapper, table: str, missing: Mapping[str, str]) -> None:
        def change() -> None:
            place = attachment.relation(connection, table)
            for name in missing:
                attachment.note(connection, Kind.COLUMN, f"{place}.{name}", {"table": place, "column": name})
            with connection.cursor() as cursor:
                cursor.execute(self._add_columns(missing))

        short_locks.change_patiently(connection, table, change)

    def _create(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        connection = schema_editor.connection
        table = mapping.current().table(self.table)
        create = self.create.replace("current_job_id uuid", f"current_job_id {job_ids.TYPE}")
        with inherited_grants.taken_back(connection):
            with nullcontext() if table.absent else own_schema.contract_first(connection):
                schema_editor.execute(create, params=None)
            place = attachment.relation(connection, table.sql)
            attachment.note(connection, Kind.TABLE, place, {"own": table.absent})

    def database_backwards(self, *_: Any) -> None:
        """Do nothing; see the class."""

    def describe(self) -> str:
        return f"Create {self.table}, or add the columns that it lacks"

    def _missing(self, connection: BaseDatabaseWrapper) -> dict[str, str]:
        present = _columns(connection, mapping.current().sql(self.table))
        return {name: kind for name, kind in self.columns.items() if name not in present}

    def _add_columns(self, columns: Mapping[str, str]) -> str:
        # IF NOT EXISTS: another migrate may have been faster.
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items())
        return f"ALTER TABLE {mapping.current().sql(self.table)} {added}"


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
        for contract in sorted(_contract_tables):
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
                    statement, table, named[0], _columns(connection, table.sql)
                )
        return statement


def _columns(connection: BaseDatabaseWrapper, relation: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [relation],
        )
        return {name for (name,) in cursor.fetchall()}


def _exists(connection: BaseDatabaseWrapper, relation: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [relation])
        return bool(cursor.fetchone()[0])
