"""Migration operations that are safe on other people's live tables.

Contract tables belong to others. Locks on them are short and abandoned rather than waited for, indexes are built
concurrently, and nothing of theirs is dropped or altered, forwards or backwards.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.core.management.base import CommandError
from django.db import OperationalError, transaction
from django.db.migrations.operations.base import Operation
from psycopg.errors import LockNotAvailable

from opsconsole.kit import function_grants, inherited_grants, own_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

LOCK_TIMEOUT_MS = 2_000
LOCK_TRIES = 10
PAUSE_SECONDS = 1.0
# Those that migrations have named so far; a migration is imported with all those before it.
_contract_tables: set[str] = set()


class EnsureTable(Operation):
    """Create a contract table if it is absent; otherwise add the columns that it lacks.

    It is created in the first schema of the search path that is not the console's own, and nobody inherits privileges on it.
    ``create`` is the CREATE TABLE statement of the contract's own columns; ``columns`` maps each column of ours to its
    type and default. Defaults are constants, which PostgreSQL stores in the catalogue without rewriting rows. The
    reverse operation does nothing: our columns may stay, and their rows must.
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
        if schema_editor.collect_sql:
            for statement in (self.create, self._add_columns(self.columns)):
                schema_editor.execute(statement, params=None)
            return
        # The table may be in any schema of the search path, where CREATE TABLE IF NOT EXISTS would not find it.
        if not _exists(schema_editor.connection, self.table):
            self._create(schema_editor)
        missing = self._missing(schema_editor.connection)
        if missing:
            _alter_patiently(schema_editor.connection, self.table, self._add_columns(missing))

    def _create(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        connection = schema_editor.connection
        with inherited_grants.taken_back(connection), own_schema.contract_first(connection):
            schema_editor.execute(self.create, params=None)

    def database_backwards(self, *_: Any) -> None:
        """Do nothing; see the class."""

    def describe(self) -> str:
        return f"Create {self.table}, or add the columns that it lacks"

    def _missing(self, connection: BaseDatabaseWrapper) -> dict[str, str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname FROM pg_attribute"
                " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
                [self.table],
            )
            present = {name for (name,) in cursor.fetchall()}
        return {name: kind for name, kind in self.columns.items() if name not in present}

    def _add_columns(self, columns: Mapping[str, str]) -> str:
        # IF NOT EXISTS: another migrate may have been faster.
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items())
        return f"ALTER TABLE {self.table} {added}"


class AddIndexOnline(AddIndexConcurrently):
    """Build an index without blocking writers, replacing a half-built leftover of an earlier try."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        valid = self._existing_is_valid(schema_editor.connection)
        if valid:
            return
        # The build waits for every older transaction without blocking anybody: a time limit would leave half an index.
        with _session(schema_editor.connection, lock_timeout=0, statement_timeout=0):
            if valid is False:
                schema_editor.execute(f"DROP INDEX CONCURRENTLY {schema_editor.quote_name(self.index.name)}")
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, *_: Any) -> None:
        """Keep the index: dropping it would slow down other people's queries."""

    def _existing_is_valid(self, connection: BaseDatabaseWrapper) -> bool | None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [self.index.name]
            )
            row = cursor.fetchone()
        return row[0] if row else None


class ReplaceFunction(Operation):
    """Create an SQL function in the schema of a contract table, replacing one with the same name and arguments.

    It runs with the rights of its owner, so that a caller needs no other privilege than EXECUTE, and looks for tables in
    the console's own schema only: ``FROM`` a contract table is completed with the schema of that table. ``create`` is the
    statement, with ``{schema}`` for the schema of the table ``beside`` and ``{search_path}`` for the path to pin.

    Whoever was granted the replaced function by name may execute the new one; nobody else may, neither PUBLIC nor roles
    that have it by default privileges. ``inherited``: those roles lose it also if the replaced function is the console's own.
    Reversing restores ``before``, the statement of an earlier migration, or drops the function.
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
        schema_editor.execute(f"DROP FUNCTION IF EXISTS {schema}.{self.name}({self.arguments})")

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
                [self.beside, own_schema.name()],
            )
            schema, path = cursor.fetchone()
        return schema, f"pg_catalog, {path}, pg_temp"

    def _qualified(self, statement: str, connection: BaseDatabaseWrapper) -> str:
        """Complete the names of contract tables: strangers may be able to create objects in their schema."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname, quote_ident(nspname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE pg_class.oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
                [sorted(_contract_tables)],
            )
            for table, schema in cursor.fetchall():
                statement = re.sub(rf"\bFROM {table}\b", f"FROM {schema}.{table}", statement)
        return statement


def _exists(connection: BaseDatabaseWrapper, relation: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [relation])
        return bool(cursor.fetchone()[0])


def _alter_patiently(connection: BaseDatabaseWrapper, table: str, statement: str) -> None:
    """Wait at most two seconds per try for the lock, because everybody else queues behind a waiting ALTER TABLE."""
    with (
        _session(connection, lock_timeout=LOCK_TIMEOUT_MS, statement_timeout=0),
        connection.cursor() as cursor,
    ):
        for attempt in range(1, LOCK_TRIES + 1):
            try:
                cursor.execute(statement)
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                if attempt == LOCK_TRIES:
                    raise CommandError(
                        f"Table {table} could not be locked in {LOCK_TRIES} tries: another transaction holds it. "
                        "It was not changed. Find the transaction in pg_stat_activity (the oldest xact_start), "
                        "let it end, and run migrate again."
                    ) from error
                time.sleep(PAUSE_SECONDS)
            else:
                return


@contextmanager
def _session(connection: BaseDatabaseWrapper, **milliseconds: int) -> Iterator[None]:
    with connection.cursor() as cursor:
        for name, value in milliseconds.items():
            cursor.execute(f"SET {name} = {value}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for name in milliseconds:
                cursor.execute(f"RESET {name}")
