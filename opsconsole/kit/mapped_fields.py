"""Fields of models whose column has another type in this database, or that has no column there at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db.models import NOT_PROVIDED, Field
from django.db.models.expressions import Col

from opsconsole.kit import mapping
from opsconsole.kit.mapping import Table, Time

AnyField = TypeVar("AnyField", bound="Field[Any, Any]")


class MappedColumn(Col):
    """A column as a query reads it: in the type of the contract, or what stands for a column that is absent."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        target: Any = self.target
        table, name = target.of_contract
        of = compiler.quote_name_unless_alias(self.alias) if self.alias else ""
        return table.read(name, of), ()


def fit(contract_table: str, name: str, field: AnyField) -> AnyField:
    """Return the field of a contract column such that queries and writes fit the column of this database.

    Migrations see the field as it is. One without a column is never written, as if the database generated it.
    """
    table: Table = mapping.current().table(contract_table)
    fitted: Any = field
    fitted.of_contract = (table, name)
    if table.lacks(name):
        fitted.generated = True
        fitted.db_default = NOT_PROVIDED
        fitted.get_col = lambda alias, output_field=None: MappedColumn(alias, field, output_field)
    elif time := table.times.get(name):
        fitted.get_col = lambda alias, output_field=None: MappedColumn(alias, field, output_field)
        fitted.get_placeholder = lambda value, *_: "%s" if value is None else time.written("%s")
        fitted.from_db_value = lambda value, *_: _as_time(value, time)
    elif table.read(name) != table.sql_column(name):
        fitted.get_col = lambda alias, output_field=None: MappedColumn(alias, field, output_field)
    return field


def _as_time(value: object, time: Time) -> object:
    """Return a time that the database gave back as it holds it, such as after INSERT; others are read by a query."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=ZoneInfo(time.zone)).astimezone(UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(float(value) / time.per_second, UTC) if value else None
    return value
