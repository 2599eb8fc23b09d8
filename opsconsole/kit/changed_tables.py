"""Whether the contract tables still have the columns that the console reads: their owners may change them after ``migrate``."""

from __future__ import annotations

from django.apps import apps
from django.db import Error, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import UndefinedColumn, UndefinedTable

from opsconsole.kit import mapping

SIGNS = (UndefinedTable, UndefinedColumn)


def have_changed() -> bool:
    """Tell whether one of these tables or columns is gone. In a transaction that has failed nothing can be asked: False."""
    contract = {table.sql for table in mapping.current().tables}
    models = [model for model in apps.get_models() if model._meta.db_table in contract]  # noqa: SLF001 - documented
    return any(_lacks_something(QuerySet(model)) for model in models)


def _lacks_something(rows: QuerySet) -> bool:  # type: ignore[type-arg]  # of any model
    statement, parameters = rows.order_by().query.sql_with_params()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT FROM ({statement}) AS whole LIMIT 0", parameters)
    except Error as error:
        return isinstance(error.__cause__, SIGNS)
    return False
