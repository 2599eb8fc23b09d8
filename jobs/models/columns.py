"""Contract columns that may have another name or type in an existing database."""

from typing import Any

from django.db import models

from opsconsole.kit import mapping
from opsconsole.kit.bounded_columns import LONGEST_NAME, BoundedName, cut_when_read
from opsconsole_worker.bounded_values import as_whole

# The contract tables as this database has them, for handwritten statements.
JOBS = mapping.current().jobs
HEARTBEATS = mapping.current().worker_heartbeats


def column(contract_name: str) -> str:
    """Return the database's name for a contract column, e.g. ``worker_heartbeats.last_heartbeat`` -> ``last_seen``."""
    table, _, name = contract_name.partition(".")
    return mapping.current().table(table).column(name)


def renamed(contract_name: str) -> str | None:
    """Return the database's name for a contract column if it has another one, as the argument ``db_column`` of a field."""
    actual = column(contract_name)
    return None if contract_name.endswith(f".{actual}") else actual


class ContractText(BoundedName[str, str]):
    """A text column that may be a uuid, integer or enum in an existing database; always read as text.

    PostgreSQL reads the untyped literals that Django sends as the column's own type, so comparing and
    writing need no cast; a value that the column's type refuses raises ``DataError``.
    """

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        # After INSERT the database gives the column back in its own type.
        return super().from_db_value(None if value is None else str(value))

    def deconstruct(self) -> Any:
        name, _, arguments, keywords = super().deconstruct()
        return name, "jobs.models.columns.ContractText", arguments, keywords


class ContractNumber(models.IntegerField[int | str, int | str]):
    """A whole number that may be numeric or text in an existing database, even if it was another type when inspected.

    It is read as an int where it is one, otherwise as text, cut to ``LONGEST_NAME``. Migrations see it as an integer
    column.
    """

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        return (sql, params) if compiler.query.subquery else cut_when_read(sql, params, LONGEST_NAME)

    def from_db_value(self, value: Any, *_: Any) -> int | str | None:
        whole = as_whole(value)
        return str(value) if whole is None and value is not None else whole

    def deconstruct(self) -> Any:
        name, _, arguments, keywords = super().deconstruct()
        return name, "django.db.models.IntegerField", arguments, keywords
