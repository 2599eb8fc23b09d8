"""Columns that other programs write: what is read of them is cut to a bounded size by PostgreSQL, before it travels.

Nothing limits what stands in such a column, and one page, alert or command reads hundreds of them. So a query always
gets the beginning, which says how much there is. ``whole()`` asks for everything, and ``whole_in_parts()`` for a
download. Filters and writes are not affected, and the order of rows is not; but ``values()`` that are ordered by the
column are ordered by what is read of it, without an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.db import models
from django.db.models import QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Substr

from opsconsole.kit.storable import is_too_deep
from opsconsole_worker.bounded_values import LONGEST_NAME, UnreadableDocument, cut_in_statement, read_document

__all__ = [
    "BEGINNING",
    "LONGEST_DOCUMENT",
    "LONGEST_NAME",
    "LONGEST_TEXT",
    "BoundedDocument",
    "BoundedName",
    "BoundedText",
    "CutDocument",
    "CutText",
    "UnreadableDocument",
    "cut_in_statement",
    "cut_when_read",
    "is_cut",
    "read_document",
    "whole",
    "whole_in_parts",
]

# In characters: of sentences and errors, and of documents.
LONGEST_TEXT = 10_000
LONGEST_DOCUMENT = 25_000
PART = 1_000_000
# The only key of a document that is too long or can't be read, in place of its own keys.
BEGINNING = "(the beginning of a document that is too long or too deep to show)"


# As for Django's own fields: what may be set and what is got, with or without None.
_Set_contra = TypeVar("_Set_contra", contravariant=True)
_Get_co = TypeVar("_Get_co", covariant=True)


class CutText(str):
    """The beginning of a text, ending with its size. It can't be saved in place of the text."""

    __slots__ = ()


class CutDocument(dict[str, Any]):
    """What stands for a document that is too long or too deep to show. It can't be saved in place of the document."""


def is_cut(value: object) -> bool:
    """Tell whether a value that was read is only the beginning of what stands in its column."""
    return isinstance(value, CutText | CutDocument)


def cut_when_read(sql: str, params: Iterable[Any], longest: int) -> tuple[str, tuple[Any, ...]]:
    """Return what a field's ``select_format`` returns, to read the column cut to this many characters."""
    statement = cut_in_statement(sql, longest)
    return statement, tuple(params) * statement.count(f"({sql})::text")


class _Bounded:
    """The part that the fields of texts and documents share."""

    longest: int
    cut: type
    name: str

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Return the column as queries read it. Django leaves filters, ordering and writes as they are."""
        if compiler.query.subquery:
            return sql, params  # It stays in the database.
        return cut_when_read(sql, params, self.longest)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001 - Django's signature
        value = super().pre_save(model_instance, add)  # type: ignore[misc]  # the field's
        if isinstance(value, self.cut) and not add:
            raise TypeError(f"Only the beginning of {self.name} was read, so it can't be saved.")
        return value


class BoundedText(_Bounded, models.TextField[_Set_contra, _Get_co]):
    """A text column of which queries read at most ``longest`` characters. Migrations see a text column."""

    cut = CutText

    def __init__(self, *args: Any, longest: int = LONGEST_TEXT, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.longest = longest

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        return value if value is None or len(value) <= self.longest else CutText(value)

    def deconstruct(self) -> Any:
        name, _, arguments, keywords = super().deconstruct()
        return name, "django.db.models.TextField", arguments, keywords


class BoundedName(BoundedText[_Set_contra, _Get_co]):
    """A text column that holds a name, a key or a word."""

    def __init__(self, *args: Any, longest: int = LONGEST_NAME, **keywords: Any) -> None:
        super().__init__(*args, longest=longest, **keywords)


class BoundedDocument(_Bounded, models.JSONField):
    """A jsonb column of which queries read at most ``LONGEST_DOCUMENT`` characters. Migrations see a jsonb column."""

    cut = CutDocument
    longest = LONGEST_DOCUMENT

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        if value is None:
            return None
        if len(value) > self.longest or is_too_deep(value):
            return CutDocument({BEGINNING: value})
        try:
            return super().from_db_value(value, expression, connection)
        except ValueError:
            # Python refuses numbers of thousands of digits, which jsonb can hold.
            return CutDocument({BEGINNING: value})

    def deconstruct(self) -> Any:
        name, _, arguments, keywords = super().deconstruct()
        return name, "django.db.models.JSONField", arguments, keywords


def whole(column: str) -> Combinable:
    """Return the whole text of a bounded column, for a query that needs it; of a document it is the JSON."""
    return Cast(column, models.TextField())


def whole_in_parts(row: QuerySet[Any], column: str) -> Iterator[str]:
    """Yield the whole text of a column of one row, in parts, so that a download needs no more memory than a part."""
    start = 1
    while part := row.values_list(Substr(whole(column), Value(start), Value(PART)), flat=True).first():
        yield part
        start += PART
