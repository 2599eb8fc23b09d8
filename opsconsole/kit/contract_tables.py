"""The operation of migrations that finds or makes a contract table, which may belong to others."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db.migrations.operations.base import Operation

from opsconsole.kit import attachment, inherited_grants, job_ids, mapping, own_schema, short_locks
from opsconsole.kit.attachment import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState

# Those that migrations have named so far; a migration is imported with all those before it.
named: set[str] = set()


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
        named.add(table)

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
            schema_editor.execute(self._add_columns(self._wanted()), params=None)
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
        present = columns_of(connection, mapping.current().sql(self.table))
        return {name: kind for name, kind in self._wanted().items() if name not in present}

    def _wanted(self) -> dict[str, str]:
        """Return the columns to add, with those of the contract that the mapping calls absent and the console needs."""
        table = mapping.current().table(self.table)
        added = mapping.ADDED_WHEN_ABSENT.get(self.table, frozenset()) & table.absent_columns
        return {**self.columns, **dict.fromkeys(sorted(added), job_ids.TYPE)}

    def _add_columns(self, columns: Mapping[str, str]) -> str:
        # IF NOT EXISTS: another migrate may have been faster.
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {name} {kind}" for name, kind in columns.items())
        return f"ALTER TABLE {mapping.current().sql(self.table)} {added}"


def columns_of(connection: BaseDatabaseWrapper, relation: str) -> set[str]:
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
