"""Migration operations that follow the mapping, and the statements of old migrations in the words of this database."""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED

from opsconsole.kit import job_ids, mapping

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState


class NameAsMapped(Operation):
    """Give a model the names that its contract table has in this database. The database has them already."""

    reversible = True

    def __init__(self, model: str, table: str) -> None:
        self.model = model
        self.table = table

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change what the model of later migrations is called, and nothing where the table is as in the contract."""
        table = mapping.current().table(self.table)
        if not table.differs:
            return
        model = state.models[app_label, self.model]
        model.options["db_table"] = table.sql
        for name in {*table.columns, *table.absent_columns}:
            field = model.fields[name].clone()
            field.db_column = table.columns.get(name, field.db_column)
            if table.lacks(name):
                field.db_default = NOT_PROVIDED
            model.fields[name] = field
        state.reload_model(app_label, self.model, delay=True)

    def database_forwards(self, *_: Any) -> None:
        """Do nothing; see the class."""

    def database_backwards(self, *_: Any) -> None:
        """Do nothing; see the class."""

    def describe(self) -> str:
        return f"Name {self.table} as OPSCONSOLE_MAPPING does"


class RetypeJobIds(Operation):
    """Give columns that hold ids of jobs the type that these have in this database.

    ``columns``: those of the console's own tables, ``table`` -> ``column``; ``references``: the fields of models that hold
    ids of jobs and are no foreign keys. Where ids are uuids, as everywhere before, nothing happens.
    """

    reversible = True

    def __init__(self, *, columns: Mapping[str, str], references: Mapping[str, str]) -> None:
        self.columns = columns
        self.references = references

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change the fields of the models in the same way."""
        if job_ids.TYPE == "uuid":
            return
        jobs = mapping.current().jobs
        state.models[app_label, "job"].fields["id"] = job_ids.primary_key(
            db_column=jobs.columns.get("id"), serialize=False
        )
        for model, name in self.references.items():
            before = state.models[app_label, model].fields[name]
            _, _, _, options = before.deconstruct()
            state.models[app_label, model].fields[name] = job_ids.reference(**options)
        for model in ("job", *self.references):
            state.reload_model(app_label, model)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if job_ids.TYPE == "uuid":
            return
        for table, column in self.columns.items():
            schema_editor.execute(
                f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {job_ids.TYPE} USING {column}::text::{job_ids.TYPE}"
            )

    def database_backwards(self, *_: Any) -> None:
        """Do nothing: earlier versions can't be used with such ids."""

    def describe(self) -> str:
        return "Give ids of jobs their type"


def of_this_database(statement: str, table: mapping.Table, name: str, present: set[str]) -> str:
    """Return a statement on the contract for a table that this database calls ``name``."""
    if not table.differs:
        return re.sub(rf"\bFROM {table.contract}\b", f"FROM {name}", statement)
    rows = table.rows_of(name, present)
    # Statements on heartbeats call their time by its name in this database, where it may be no timestamptz.
    for time in table.times:
        theirs = re.escape(mapping.quoted(table.column(time)))
        statement = re.sub(rf"\b(beat|own)\.{theirs}", rf"\1.{time}", statement)
    # The only statement that deletes is that of one function, and it returns whole rows of the table that is named first.
    statement = re.sub(
        rf"\bDELETE FROM {table.contract}\b([^;]*?)\bRETURNING \*",
        lambda found: f"DELETE FROM {name}{found[1]}RETURNING {table.returned_row(present)}",
        statement,
    )
    statement = re.sub(rf"(?<!DELETE )\bFROM {table.contract} AS\b", f"FROM {rows} AS", statement)
    statement = re.sub(
        rf"(?<!DELETE )\bFROM {table.contract}\b", f"FROM {rows} AS {table.contract}", statement
    )
    if isinstance(table, mapping.Jobs):
        statement = re.sub(
            r"\bjob\.status = '(\w+)'", lambda asked: table.is_status(asked[1], of="job"), statement
        )
    typed = rf'\b{table.contract}\.(?:"([^"]+)"|(\w+))%TYPE'
    return re.sub(typed, lambda found: _type(table, name, found[1] or found[2]), statement)


def _type(table: mapping.Table, name: str, column: str) -> str:
    """Return the type of a column, which the statement calls by its name in the contract or by theirs."""
    if table.lacks(column):
        return table.read(column).rpartition("::")[2]
    return f"{name}.{mapping.quoted(table.column(column))}%TYPE"
