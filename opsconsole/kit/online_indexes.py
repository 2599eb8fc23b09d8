"""Indexes on live tables of others: built without blocking writers, also on each partition of a partitioned table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db.models import Index, Model
from django.db.models.functions import Greatest

from opsconsole.kit import attachment, mapping, short_locks
from opsconsole.kit.attachment import Kind

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class AddIndexOnline(AddIndexConcurrently):
    """Build an index without blocking writers, replacing a half-built leftover of an earlier try."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        table, definition = self.target(model, schema_editor)
        if definition is None:
            return
        connection = schema_editor.connection
        name, valid = _existing(connection, table, self.index.name)
        if valid:
            return
        self._ensure_not_in_transaction(schema_editor)
        if not schema_editor.collect_sql:
            self.note(connection, table, self.index.name)
        # The build waits for every older transaction without blocking anybody: a time limit would leave half an index.
        with short_locks.session(connection, lock_timeout=0, statement_timeout=0):
            partitions = _partitions(connection, table)
            if partitions:
                self._build_on_each(schema_editor, table, name, partitions, definition)
            else:
                if valid is False:
                    schema_editor.execute(f"DROP INDEX CONCURRENTLY {name}")
                schema_editor.execute(
                    f"CREATE INDEX CONCURRENTLY {self.index.name} ON {table} {definition}", params=None
                )

    def target(
        self,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
    ) -> tuple[str, str | None]:
        """Return the table, and what the index holds; None where it can't be of use."""
        table = _contract_table(model._meta.db_table)  # noqa: SLF001 - documented
        return table.sql, _definition(self.index, table)

    def note(self, connection: BaseDatabaseWrapper, table: str, index: str) -> None:
        """Record the index before it exists, so that uninstall also finds a half-built one."""
        on = attachment.relation(connection, table)
        attachment.note(connection, Kind.INDEX, f"{on}.{index}", {"table": on, "index": index})

    def _build_on_each(
        self,
        schema_editor: BaseDatabaseSchemaEditor,
        table: str,
        name: str,
        partitions: list[tuple[int, str]],
        definition: str,
    ) -> None:
        """Build the index on each partition, which PostgreSQL can't do online for the whole table, and join them.

        It is valid as soon as all have joined; until then migrate goes on where it stopped.
        """
        if not name:
            _change(schema_editor, table, f"CREATE INDEX {self.index.name} ON ONLY {table} {definition}")
            name, _ = _existing(schema_editor.connection, table, self.index.name)
        for oid, partition in partitions:
            part = f"{self.index.name}_{oid}"
            if not schema_editor.collect_sql:
                self.note(schema_editor.connection, partition, part)
            known, valid = _existing(schema_editor.connection, partition, part)
            if valid is False:
                schema_editor.execute(f"DROP INDEX CONCURRENTLY {known}")
            if not valid:
                schema_editor.execute(
                    f"CREATE INDEX CONCURRENTLY {part} ON {partition} {definition}", params=None
                )
                known, _ = _existing(schema_editor.connection, partition, part)
            _change(schema_editor, table, f"ALTER INDEX {name} ATTACH PARTITION {known}")

    def database_backwards(self, *_: Any) -> None:
        """Keep the index: dropping it would slow down other people's queries."""


class RemoveIndexOnline(RemoveIndexConcurrently):
    """Drop an index of the console without blocking writers; of a partitioned table as soon as no writer holds it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        connection = schema_editor.connection
        table = _contract_table(from_state.apps.get_model(app_label, self.model_name)._meta.db_table).sql  # noqa: SLF001 - documented
        name, valid = _existing(connection, table, self.name)
        if valid is not None:
            self._ensure_not_in_transaction(schema_editor)
            if _partitions(connection, table):
                _change(schema_editor, table, f"DROP INDEX IF EXISTS {name}")
            else:
                with short_locks.session(connection, lock_timeout=0, statement_timeout=0):
                    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        AddIndexOnline(self.model_name, index).database_forwards(
            app_label, schema_editor, from_state, to_state
        )


class AddOwnIndexOnline(AddIndexOnline):
    """Build a partial index on a table of the console's own in the same way."""

    def target(self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor) -> tuple[str, str | None]:
        index: Any = self.index
        columns = [schema_editor.quote_name(_column(model, name)) for name in index.fields]
        condition = index._get_condition_sql(model, schema_editor)  # noqa: SLF001 - as Django builds it
        return model._meta.db_table, f"({', '.join(columns)}) WHERE {condition}"  # noqa: SLF001 - documented

    def note(self, connection: BaseDatabaseWrapper, table: str, index: str) -> None:
        """Record nothing: the index goes with the table."""

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        *_: Any,
    ) -> None:
        table = from_state.apps.get_model(app_label, self.model_name)._meta.db_table  # noqa: SLF001 - documented
        _change(schema_editor, table, f"DROP INDEX IF EXISTS {self.index.name}")


def _existing(connection: BaseDatabaseWrapper, table: str, index: str) -> tuple[str, bool | None]:
    """Return the name of the index for a statement, and whether it is valid; None: there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE indrelid = to_regclass(%s) AND relname = %s",
            [table, index],
        )
        return cursor.fetchone() or ("", None)


def _change(schema_editor: BaseDatabaseSchemaEditor, table: str, statement: str) -> None:
    """Execute a statement that takes a moment and needs a lock which no writer of the table may hold.

    A writer that stays would keep it waiting, and all others behind it.
    """
    change = partial(schema_editor.execute, statement, params=None)
    if schema_editor.collect_sql:
        change()
    else:
        short_locks.change_patiently(schema_editor.connection, table, change)


def _column(model: Any, name: str) -> str:
    column: str = model._meta.get_field(name).column  # noqa: SLF001 - documented
    return column


def _contract_table(name: str) -> mapping.Table:
    """Return the table; only contract tables have indexes of this kind."""
    return next(table for table in mapping.current().tables if name in {table.contract, table.sql})


def _definition(index: Index, table: mapping.Table) -> str | None:
    """Return the columns and the condition of the index for this database; None where it can't be of use."""
    columns = []
    for name, order in index.fields_orders:
        if table.lacks(name) and name != "updated_at":
            return None
        columns.append(f"{_element(table, name)} {order}".rstrip())
    expressions: Sequence[Any] = index.expressions
    for expression in expressions:
        if isinstance(expression, Greatest):
            times = [table.read(each.name) for each in expression.get_source_expressions()]
            columns.append(f"GREATEST({', '.join(times)})")
        else:
            columns.append(_element(table, expression.name))
    condition = f" WHERE {_condition(index.condition, table)}" if index.condition else ""
    return f"({', '.join(columns)}){condition}"


def _element(table: mapping.Table, name: str) -> str:
    read = table.read(name)
    return read if read == table.sql_column(name) else f"({read})"


def _partitions(connection: BaseDatabaseWrapper, table: str) -> list[tuple[int, str]]:
    """Return the partitions of a partitioned table that hold rows, each with its name for a statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relid::oid::bigint, relid::regclass::text FROM pg_partition_tree(to_regclass(%s)) WHERE isleaf"
            "   AND (SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)) = 'p' ORDER BY 1",
            [table, table],
        )
        return list(cursor.fetchall())


def _condition(condition: Any, table: mapping.Table) -> str:
    """Return the condition of a partial index: the few kinds that there are, joined by AND."""
    return " AND ".join(_part(name, value, table) for name, value in condition.children)


def _part(name: str, value: Any, table: mapping.Table) -> str:
    if name == "status" and isinstance(table, mapping.Jobs):
        return table.is_status(value)
    return f"{table.sql_column(name.removesuffix('__isnull'))} IS {'' if value else 'NOT '}NULL"
