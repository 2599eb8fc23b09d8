"""The cells of a list, as Django's admin makes them, with the heading of each column and made in half the time.

Django looks up each column anew for each row. Here a column that is a method of the admin, as most of ours are, is called
directly, and a field of text or of a number is read so; all others are left to Django. A cell with a word that no column has room
for is marked, so that the word alone is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from django.contrib.admin.templatetags.admin_list import items_for_result
from django.contrib.admin.utils import display_for_field, display_for_value
from django.db.models import CharField, IntegerField, Model, TextField
from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString
from django.utils.text import capfirst

CHECKBOX = "action_checkbox"
# A word outside of tags that is longer than those of a language: an id, a name or a path.
LONG = 24
LONG_WORD = re.compile(rf"(?:^|>)(?:[^<]*\s)?[^\s<]{{{LONG}}}")

_CLASSES = re.compile(r'(class="[^"]*)"')


@dataclass(frozen=True)
class _Column:
    """A column with its escaped heading and classes. ``value`` reads it of a row: None for a column that Django shows."""

    name: str
    heading: str
    # The cell up to what is shown.
    begin: str
    value: Callable[[Any], Any] | None
    empty: str

    def cell(self, row: Any) -> str:
        value = self.value(row) if self.value else None
        if isinstance(value, str) and not value.strip():
            value = ""
        if value and isinstance(value, SafeString):
            return f'{self.begin}{_long(value)}">{value}</td>'
        text = conditional_escape(display_for_value(value, self.empty))
        return f'{self.begin}{" nowrap" if isinstance(value, date | time) else _long(text)}">{text}</td>'

    def labelled(self, cell: str) -> str:
        if LONG_WORD.search(cell):
            cell = _CLASSES.sub(r'\1 long"', cell, count=1)
        return cell.replace("<td ", f'<td data-label="{self.heading}" ', 1) if self.heading else cell


def _long(shown: str) -> str:
    return " long" if len(shown) >= LONG and LONG_WORD.search(shown) else ""


def rows(changes: Any, headers: Sequence[Mapping[str, Any]]) -> Iterator[SafeString]:
    """Yield the cells of each row. Narrow screens show the heading of its column beside each."""
    columns = [_column(changes, *pair) for pair in zip(changes.list_display, headers, strict=True)]
    others = copy(changes)
    others.list_display = [column.name for column in columns if column.value is None]
    for row in changes.result_list:
        by_django = items_for_result(others, row, None)
        yield SafeString(
            "".join(
                column.cell(row) if column.value else column.labelled(next(by_django)) for column in columns
            )
        )


def _column(changes: Any, name: Any, header: Mapping[str, Any]) -> _Column:
    heading = "" if name == CHECKBOX else escape(capfirst(str(header["text"])))
    classes = "action-checkbox" if name == CHECKBOX else f"field-{name}"
    label = f'data-label="{heading}" ' if heading else ""
    begin = f'<td {label}class="{classes}'
    method = getattr(changes.model_admin, name, None) if isinstance(name, str) else None
    empty = getattr(method, "empty_value_display", changes.model_admin.get_empty_value_display())
    if not isinstance(name, str) or name in (changes.list_display_links or ()):
        return _Column(name, heading, begin, None, empty)
    if callable(method) and not getattr(method, "boolean", False):
        return _Column(name, heading, begin, method, empty)
    return _Column(name, heading, begin, _text_of(changes.model, name, empty), empty)


def _text_of(model: type[Model], name: str, empty: str) -> Callable[[Any], Any] | None:
    """Return what reads a field of text or of a number as Django shows it; None for any other column."""
    field = next((each for each in model._meta.concrete_fields if each.name == name), None)  # noqa: SLF001 - documented
    if not isinstance(field, CharField | TextField | IntegerField) or field.auto_created:
        return None
    return lambda row: display_for_field(getattr(row, name), field, empty)
