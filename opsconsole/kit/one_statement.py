"""Several readings that one statement answers, so that a page asks the database once in place of many times.

Each reading keeps its owner: the QuerySet is built where the question belongs, and only sent from here. What is read
together is of one moment. Where one reading fails, all of them fail.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar

from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import DatabaseError, connection, transaction
from django.db.models import DateTimeField, DecimalField, Model, QuerySet
from django.db.models.functions.datetime import TruncBase

from opsconsole.kit.counting import capped
from opsconsole.kit.postgresql.timestamps import in_place_of

Answer = TypeVar("Answer")
Other = TypeVar("Other")
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Reading(Generic[Answer]):
    """A query of one value, with its parameters; ``decode`` makes the answer of it. An empty ``sql`` is answered by None."""

    sql: str
    params: tuple[Any, ...]
    decode: Callable[[Any], Answer]

    @cached_property
    def bound(self) -> str:
        """The query with its parameters in place. psycopg would take a long one apart each time that it is sent."""
        operations: Any = connection.ops
        return str(operations.compose_sql(self.sql, self.params))

    def then(self, change: Callable[[Answer], Other]) -> Reading[Other]:
        """Return the reading that makes something else of the answer."""
        return Reading(self.sql, self.params, lambda value: change(self.decode(value)))


# Work that yields what it has to read next, is sent the answers by name, and returns a result.
Steps: TypeAlias = Generator[dict[str, Reading[Any]], dict[str, Any], Answer]


def count_of(rows: QuerySet[Any], most: int | None = None) -> Reading[int]:
    """Count the rows as ``counting.count`` does, up to ``most`` + 1 if given."""
    return _of(capped(rows, most), "SELECT count(*) FROM ({sql}) AS counted", lambda number: number or 0)


def exists_of(rows: QuerySet[Any, Any]) -> Reading[bool]:
    """Read whether there is a row."""
    return _of(rows.order_by().values("pk")[:1], "SELECT EXISTS ({sql})", bool)


def value_of(rows: QuerySet[Any, Any]) -> Reading[Any]:
    """Read the only column of the first row; None where there is no row."""
    return _of(rows[:1], "{sql}", lambda value: value)


def column_of(rows: QuerySet[Any, Any]) -> Reading[list[Any]]:
    """Read the only column of all rows."""
    return _of(rows, "SELECT array({sql})", lambda values: values or [])


def distinct_of(rows: QuerySet[Any, Any]) -> Reading[list[Any]]:
    """Read what occurs in the only column of these rows, once each."""
    return _of(rows, "SELECT array(SELECT DISTINCT * FROM ({sql}) AS read)", lambda values: values or [])


def records_of(rows: QuerySet[Any, Any]) -> Reading[list[tuple[Any, ...]]]:
    """Read the rows as tuples, by the columns of ``values_list()``."""
    compiler = rows.query.get_compiler(connection=connection)

    def decode(stored: Sequence[Sequence[Any]] | None) -> list[tuple[Any, ...]]:
        expressions = [expression for expression, _, _ in compiler.select]
        return [
            tuple(_converted(*pair) for pair in zip(expressions, row, strict=True)) for row in stored or ()
        ]

    return _rows(compiler, decode)


def models_of(rows: QuerySet[Row]) -> Reading[list[Row]]:
    """Read the rows as instances of their model, with annotations and deferred fields, but without related objects."""
    compiler = rows.query.get_compiler(connection=connection)

    def decode(stored: Sequence[Sequence[Any]] | None) -> list[Row]:
        if not stored:
            return []
        info, columns = compiler.klass_info, [expression for expression, _, _ in compiler.select]
        fields = info["select_fields"]
        names = [columns[index].target.attname for index in fields]
        annotated = compiler.annotation_col_map.items()
        return [
            _instance(info["model"], names, fields, annotated, list(map(_converted, columns, row)))
            for row in stored
        ]

    return _rows(compiler, decode)


def read(**readings: Reading[Any]) -> dict[str, Any]:
    """Answer all readings by one statement."""
    asked = {name: reading for name, reading in readings.items() if reading.sql}
    row: Sequence[Any] = ()
    if asked:
        parts = ", ".join(f"({reading.bound})" for reading in asked.values())
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {parts}")
            row = cursor.fetchone() or ()
    values = dict(zip(asked, row, strict=True))
    return {name: reading.decode(values.get(name)) for name, reading in readings.items()}


def read_apart(readings: Mapping[str, Reading[Any]], *, milliseconds: int = 0) -> dict[str, Any]:
    """Answer each reading by a statement of its own, and those that fail by None. Each may take so long; 0: as long as any."""
    alone = {
        name: read_if_possible({name: each}, milliseconds=milliseconds) for name, each in readings.items()
    }
    return {name: answer[name] if answer else None for name, answer in alone.items()}


def read_if_possible(readings: Mapping[str, Reading[Any]], *, milliseconds: int = 0) -> dict[str, Any] | None:
    """Answer all readings by one statement; None where it fails, or takes longer than this (0: than any may)."""
    try:
        with transaction.atomic():
            if milliseconds:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
            return read(**readings)
    except DatabaseError:
        return None


def side_by_side(works: Sequence[Steps[Answer]]) -> list[Answer]:
    """Return the result of each work. What all of them have to read next is one statement, whoever asks."""
    results: dict[int, Answer] = {}
    asked = _advanced(dict(enumerate(works)), {}, results)
    while asked:
        read_now = read(
            **{f"{name}_{number}": each for number, (_, of) in asked.items() for name, each in of.items()}
        )
        answers = {
            number: {name: read_now[f"{name}_{number}"] for name in of} for number, (_, of) in asked.items()
        }
        asked = _advanced({number: work for number, (work, _) in asked.items()}, answers, results)
    return [results[number] for number in range(len(works))]


def _advanced(
    works: dict[int, Steps[Answer]], answers: dict[int, dict[str, Any]], results: dict[int, Answer]
) -> dict[int, tuple[Steps[Answer], dict[str, Reading[Any]]]]:
    """Send each work its answers. Return those that ask again with their readings, and note the results of the others."""
    asked = {}
    for number, work in works.items():
        try:
            readings = work.send(answers[number]) if answers else next(work)
        except StopIteration as end:
            results[number] = end.value
        else:
            asked[number] = (work, readings)
    return asked


def _of(rows: QuerySet[Any, Any], around: str, decode: Callable[[Any], Answer]) -> Reading[Answer]:
    compiler = rows.query.get_compiler(connection=connection)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return Reading("", (), decode)
    return Reading(around.format(sql=sql), tuple(params), decode)


def _rows(compiler: Any, decode: Callable[[Any], Answer]) -> Reading[Answer]:
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return Reading("", (), decode)
    columns = ", ".join(f"c{number}" for number in range(len(compiler.select)))
    # Columns of a query may share a name, and a field of JSON may not.
    array = f"SELECT json_agg(json_build_array({columns})) FROM ({sql}) AS read({columns})"  # noqa: S608 - compiled by Django
    return Reading(array, tuple(params), decode)


def _instance(
    model: type[Row],
    names: Sequence[str],
    fields: Sequence[int],
    annotated: Iterable[tuple[str, int]],
    values: Sequence[Any],
) -> Row:
    instance = model.from_db(connection.alias, names, [values[index] for index in fields])
    for name, index in annotated:
        setattr(instance, name, values[index])
    return instance


def _converted(expression: Any, value: Any) -> Any:
    """Return a value of JSON as the QuerySet would."""
    value = _read(expression.output_field, value)
    # PostgreSQL truncates the local time, which Django makes aware again.
    return (
        expression.convert_value(value, expression, connection)
        if isinstance(expression, TruncBase)
        else value
    )


def _read(field: Any, value: Any) -> Any:
    if value is None:
        return None
    try:
        read = field.to_python(value)
    except ValidationError:
        if not isinstance(field, DateTimeField):
            raise
        # As the loader of the connection does, which does not see the times in JSON.
        return in_place_of(value)
    if isinstance(read, Decimal) and isinstance(field, DecimalField):
        # The column has 90.0 where JSON, read as Python reads it, has 90.
        return read.quantize(Decimal(1).scaleb(-field.decimal_places))
    return read
