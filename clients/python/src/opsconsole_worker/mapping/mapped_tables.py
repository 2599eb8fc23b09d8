"""One contract table as this database has it: names, columns and types, and what statements say of them."""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from collections.abc import Container
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from types import MappingProxyType

from opsconsole_worker.mapping.contract_words import (
    ADDED_WHEN_ABSENT,
    CONTRACT_COLUMNS,
    EPOCH_MILLISECONDS,
    EPOCH_SECONDS,
    OWN_COLUMNS,
    TIMES,
    WITHOUT_ZONE,
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Time:
    """How a column holds a time, if not as a timestamptz. ``zone``: of a timestamp without a zone.

    As a number, 0 stands for no time at all.
    """

    kind: str
    zone: str = "UTC"

    def read(self, column: str) -> str:
        """Return the column as a timestamptz, for a statement or an index."""
        if self.kind == WITHOUT_ZONE:
            return f"({column} AT TIME ZONE {literal(self.zone)})"
        return f"to_timestamp(nullif({column}, 0)::float8 / {self.per_second})"

    def written(self, value: str) -> str:
        """Return what a statement writes for a timestamptz."""
        if self.kind == WITHOUT_ZONE:
            return f"({value} AT TIME ZONE {literal(self.zone)})"
        return f"floor(extract(epoch FROM {value}) * {self.per_second})::bigint"

    @property
    def now(self) -> str:
        """Return the present time as precisely as such a column usually holds it."""
        unit = "second" if self.kind == EPOCH_SECONDS else "milliseconds"
        return f"date_trunc('{unit}', statement_timestamp())"

    @property
    def per_second(self) -> int:
        return 1000 if self.kind == EPOCH_MILLISECONDS else 1


@dataclass(frozen=True)
class Table:
    """One contract table. ``contract`` is its name in the contract; the rest is what differs in this database.

    ``schema`` None: the table is found on the search path. ``columns``: contract name -> their name, of those that have
    another one; ``absent_columns``: those that they don't have. ``absent``: there is no such table. ``id_type``: the type of
    its ids, '' where that is the contract's.
    """

    contract: str
    schema: str | None = None
    table: str | None = None
    columns: Dictionary[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absent_columns: frozenset[str] = frozenset()
    times: Dictionary[str, Time] = field(default_factory=lambda: MappingProxyType({}))
    absent: bool = False
    id_type: str = ""

    @property
    def name(self) -> str:
        """Return the name of the table without its schema."""
        return self.table or self.contract

    @property
    def is_renamed(self) -> bool:
        """Tell whether the table has another name, or a schema that must be named."""
        return self.schema is not None or self.name != self.contract

    @property
    def differs(self) -> bool:
        """Tell whether anything about the table is not as in the contract."""
        return self != type(self)(self.contract)

    @property
    def sql(self) -> str:
        """Return the table for a statement, ``Meta.db_table`` and ``to_regclass``: ``jobs`` or ``"JobManager"."Job"``.

        Django quotes a name unless it begins and ends with a quote.
        """
        if self.schema is not None:
            return f"{quoted(self.schema)}.{quoted(self.name)}"
        return self.name if self.name == self.contract else quoted(self.name)

    @property
    def aliased(self) -> str:
        """Return the table for a statement that changes rows, and goes on to call it by its name in the contract."""
        return f"{self.sql} AS {self.contract}" if self.is_renamed else self.sql

    @property
    def rows(self) -> str:
        """Return what stands behind FROM in a statement that only reads: rows with the columns of the contract.

        The columns have their own names too. PostgreSQL sees through it: indexes and row locks work as on the table.
        """
        return self.rows_of(self.sql)

    @property
    def aliased_rows(self) -> str:
        """Return the same with an alias, the table's name in the contract."""
        return self.rows if self.rows == self.contract else f"{self.rows} AS {self.contract}"

    def rows_of(self, sql: str, present: Container[str] | None = None) -> str:
        """Return the rows of this table where a statement must name it otherwise, such as with its schema.

        ``present``: the columns that the table has while migrations have not yet added all of the console's.
        """
        if not self.reads_otherwise:
            return sql
        names = [*CONTRACT_COLUMNS[self.contract], *OWN_COLUMNS[self.contract]]
        theirs = [quoted(actual) for actual in self.columns.values() if actual not in names]
        columns = [self.returned_row(present), *theirs, *self.further_columns]
        return f"(SELECT ctid, {', '.join(columns)} FROM {sql})"

    @property
    def further_columns(self) -> list[str]:
        """Return columns that are none of the contract, for a list of SELECT."""
        return []

    def returned_row(self, present: Container[str] | None = None) -> str:
        """Return all columns for a list of RETURNING, under their names in the contract."""
        if not self.reads_otherwise:
            return "*"
        names = [*CONTRACT_COLUMNS[self.contract], *OWN_COLUMNS[self.contract]]
        return ", ".join(
            self.returned(name)
            for name in names
            if present is None or self.lacks(name) or self.column(name) in present
        )

    def has(self, column: str) -> bool:
        """Tell whether the database has this column of the contract."""
        return not self.absent and column not in self.absent_columns

    def lacks(self, column: str) -> bool:
        """Tell whether no column of this kind can be read: they have none, and the console adds none in its place."""
        return column in self.absent_columns and column not in ADDED_WHEN_ABSENT.get(self.contract, ())

    def column(self, name: str) -> str:
        """Return their name, unquoted, for a column of the contract."""
        return self.columns.get(name, name)

    def sql_column(self, name: str, of: str = "") -> str:
        """Return a column for a statement in which ``of``, if given, names the row: ``job.status``, ``job."state"``."""
        actual = self.column(name)
        column = actual if actual == name else quoted(actual)
        return f"{of}.{column}" if of else column

    @property
    def reads_otherwise(self) -> bool:
        """Tell whether any column has another name or type, or is absent."""
        return bool(self.columns or self.times or self.absent_columns) or (
            self.contract == "worker_heartbeats" and bool(self.id_type)
        )

    def read(self, name: str, of: str = "") -> str:
        """Return what a column holds, in the type of the contract, for a statement in which ``of`` names the row."""
        if self.lacks(name):
            return self._instead_of(name, of)
        column = self.sql_column(name, of)
        if (self.contract, name) == ("worker_heartbeats", "worker_id") and self.reads_otherwise:
            # It may be a number or a uuid; to cast a text costs nothing, and its index still serves.
            return f"{column}::text"
        return self.times[name].read(column) if name in self.times else column

    def _instead_of(self, name: str, of: str) -> str:
        """Return what stands for a column that they don't have."""
        if (self.contract, name) == ("jobs", "updated_at"):
            return f"coalesce({self.read('started_at', of)}, {self.read('created_at', of)})"
        kind = (
            "timestamptz" if name in TIMES[self.contract] else "integer" if name == "package_size" else "text"
        )
        return f"NULL::{kind}"

    def to_write(self, name: str, value: str) -> str:
        """Return what a statement writes into a column for this value of the contract."""
        return self.times[name].written(value) if name in self.times and value != "NULL" else value

    def now(self, name: str) -> str:
        """Return the present time such that it is the same when it is read from this column."""
        return self.times[name].now if name in self.times else "statement_timestamp()"

    def assignments(self, **values: str) -> str:
        """Return these values for the SET clause of a statement; columns that they don't have are left out."""
        return ", ".join(
            f"{self.sql_column(name)} = {self.to_write(name, value)}"
            for name, value in values.items()
            if not self.lacks(name)
        )

    def returned(self, name: str, of: str = "") -> str:
        """Return a column for a list of SELECT or RETURNING, under its name in the contract."""
        column = self.read(name, of)
        return column if column == (f"{of}.{name}" if of else name) else f"{column} AS {name}"
