"""One contract table as this database has it: names, columns, types and status words, and what statements say of them."""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from collections.abc import Container
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from types import MappingProxyType

from opsconsole.kit.contract_words import (
    CONTRACT_COLUMNS,
    EPOCH_MILLISECONDS,
    EPOCH_SECONDS,
    FAILED,
    OWN_COLUMNS,
    STATUSES,
    TIMES,
    WITHOUT_ZONE,
    WRITTEN_AS_FAILED,
)
from opsconsole.kit.errors import OpsConsoleError


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# What follows a word of theirs that is a status of ours and means something else.
_THEIRS = " (theirs)"


class NoWord(OpsConsoleError):
    """A status can't be written, because the database has no word for it. The message says which."""


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
    another one; ``absent_columns``: those that they don't have. ``absent``: there is no such table.
    """

    contract: str
    schema: str | None = None
    table: str | None = None
    columns: Dictionary[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absent_columns: frozenset[str] = frozenset()
    times: Dictionary[str, Time] = field(default_factory=lambda: MappingProxyType({}))
    absent: bool = False

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
        return f"(SELECT ctid, {', '.join([self.returned_row(present), *theirs])} FROM {sql})"

    def returned_row(self, present: Container[str] | None = None) -> str:
        """Return all columns for a list of RETURNING, under their names in the contract."""
        if not self.reads_otherwise:
            return "*"
        names = [*CONTRACT_COLUMNS[self.contract], *OWN_COLUMNS[self.contract]]
        return ", ".join(
            self.returned(name)
            for name in names
            if present is None or name in self.absent_columns or self.column(name) in present
        )

    def has(self, column: str) -> bool:
        """Tell whether the database has this column of the contract."""
        return not self.absent and column not in self.absent_columns

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
        return bool(self.columns or self.times or self.absent_columns)

    def read(self, name: str, of: str = "") -> str:
        """Return what a column holds, in the type of the contract, for a statement in which ``of`` names the row."""
        if name in self.absent_columns:
            return self._instead_of(name, of)
        column = self.sql_column(name, of)
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
            if name not in self.absent_columns
        )

    def returned(self, name: str, of: str = "") -> str:
        """Return a column for a list of SELECT or RETURNING, under its name in the contract."""
        column = self.read(name, of)
        return column if column == (f"{of}.{name}" if of else name) else f"{column} AS {name}"


@dataclass(frozen=True)
class Life:
    """What tells that a run is alive. ``column``: of the job's row, for ``job_column`` only."""

    told_by: str = "beats"
    column: str | None = None


@dataclass(frozen=True)
class Jobs(Table):
    """The table of jobs. ``statuses``: ours -> the words that are read, the first of which is written."""

    id_type: str = "uuid"
    statuses: Dictionary[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    life: Life = Life()

    @property
    def has_own_words(self) -> bool:
        """Tell whether any status has other words than ours."""
        return any(words != (status,) for status, words in self.statuses.items())

    def times_of_new_row(self) -> dict[str, str]:
        """Return what a statement writes into the times of a new row that are no timestamptz; others have defaults."""
        return {
            name: self.to_write(name, "statement_timestamp()")
            for name in ("created_at", "updated_at")
            if name in self.times
        }

    def words(self, status: str) -> tuple[str, ...]:
        """Return their words that mean this status of ours; none where they have no such status.

        Any other text is a word of theirs itself.
        """
        if status.endswith(_THEIRS):
            return (status.removesuffix(_THEIRS),)
        return self.statuses.get(status, (status,))

    def written(self, status: str) -> str | None:
        """Return the word to write for a status of ours; None where there is none, and the change is refused."""
        words = self.words(status)
        if not words and status in WRITTEN_AS_FAILED:
            words = self.words(FAILED)
        return words[0] if words else None

    def word_for(self, status: str) -> str:
        """Return the word to write. Raise ``NoWord`` where there is none."""
        word = self.written(status)
        if word is None:
            raise NoWord(f"{self.no_word(status)} Nothing was changed.")
        return word

    def no_word(self, status: str) -> str:
        """Say why a status can't be written: the caller knows that there is no word."""
        column = f"{self.sql}.{self.sql_column('status')}"
        other = f" and none for '{FAILED}'" if status in WRITTEN_AS_FAILED else ""
        return f"This database has no word for '{status}'{other} in {column}."

    def status_of(self, word: str) -> str:
        """Return the status of ours that a word of theirs means, or the word itself if none is known."""
        found = next((status for status in STATUSES if word in self.words(status)), None)
        return found or (f"{word}{_THEIRS}" if word in STATUSES else word)

    def is_status(self, *statuses: str, of: str = "") -> str:
        """Return the condition, for a statement, that a row has one of these statuses of ours."""
        words = [word for status in statuses for word in self.words(status)]
        column = self.sql_column("status", of)
        if not words:
            return "false"
        literals = ", ".join(map(literal, words))
        return f"{column} = {literals}" if len(words) == 1 else f"{column} IN ({literals})"

    def our_status(self, of: str = "") -> str:
        """Return the status of a row in our words, for a statement that finds the row by its id: no index has it."""
        word = f"{self.sql_column('status', of)}::text"
        return self.in_our_words(word) if self.has_own_words else word

    def in_our_words(self, word: str) -> str:
        """Return, as SQL, the status that a text of theirs means, as ``status_of`` does."""
        cases = {each: status for status in STATUSES for each in self.words(status)}
        cases |= {status: f"{status}{_THEIRS}" for status in STATUSES if status not in cases}
        changed = [
            f"WHEN {literal(each)} THEN {literal(status)}" for each, status in cases.items() if each != status
        ]
        return f"(CASE {word} {' '.join(changed)} ELSE {word} END)"

    def status_written(self, status: str) -> str:
        """Return what a statement writes for a status of ours; NULL, which fails the statement, where there is no word."""
        word = self.written(status)
        return "NULL" if word is None else literal(word)
