"""A QuerySet of models that is compiled once and sent as often as wanted: as its rows, or as those of some keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


class CompiledRows(Generic[Row]):
    """Reads instances as the QuerySet does, with annotations and deferred fields, but without related objects."""

    def __init__(self, rows: QuerySet[Row]) -> None:
        self._compiler = compiler = rows.query.get_compiler(connection=connection)
        self.sql, self.params = compiler.as_sql()
        self._columns = [expression for expression, _, _ in compiler.select]
        self._converters = compiler.get_converters(self._columns)
        info = compiler.klass_info
        self._model: type[Row] = info["model"]
        self._select = info["select_fields"]
        self._fields = [self._columns[index].target for index in self._select]
        self._names = [field.attname for field in self._fields]

    def all(self) -> list[Row]:
        return self._read(self.sql, self.params)

    def of_keys(self, keys: Sequence[Any]) -> dict[Any, Row]:
        """Return those of the rows that have one of these primary keys, by key."""
        if not keys:
            return {}
        pk = self._fields.index(self._model._meta.pk)  # noqa: SLF001 - documented
        names = [f"c{number}" for number in range(len(self._columns))]
        # PostgreSQL looks the keys up by the index, as if the condition stood in the query itself.
        of_keys = f"c{self._select[pk]} IN ({', '.join(['%s'] * len(keys))})"
        sql = f"SELECT * FROM ({self.sql}) AS compiled ({', '.join(names)}) WHERE {of_keys}"  # noqa: S608 - compiled by Django
        return {row.pk: row for row in self._read(sql, (*self.params, *keys))}

    def _read(self, sql: str, params: Sequence[Any]) -> list[Row]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            stored = cursor.fetchall()
        return [self._instance(row) for row in self._compiler.apply_converters(stored, self._converters)]

    def _instance(self, values: Sequence[Any]) -> Row:
        row = self._model.from_db(connection.alias, self._names, [values[index] for index in self._select])
        for name, index in self._compiler.annotation_col_map.items():
            setattr(row, name, values[index])
        return row
