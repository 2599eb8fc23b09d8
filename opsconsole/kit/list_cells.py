"""The cells of a list, as Django's admin makes them, with the heading of each column and made in half the time.

Django looks up each column anew for each row. Here a column that is a method of the admin, as most of ours are, is called
directly; all others are left to Django.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from django.contrib.admin.templatetags.admin_list import items_for_result
from django.contrib.admin.utils import display_for_value
from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString
from django.utils.text import capfirst

CHECKBOX = "action_checkbox"


@dataclass(frozen=True)
class _Column:
    """A column with its escaped heading. ``method``: None for one that Django shows."""

    name: str
    heading: str
    method: Callable[[Any], Any] | None
    empty: str

    def cell(self, row: Any) -> str:
        value = self.method(row) if self.method else None
        safe = isinstance(value, SafeString) and value.strip()
        text = value if safe else conditional_escape(display_for_value(value, self.empty))
        nowrap = " nowrap" if isinstance(value, date | time) else ""
        return f'<td data-label="{self.heading}" class="field-{self.name}{nowrap}">{text}</td>'

    def labelled(self, cell: str) -> str:
        return cell.replace("<td ", f'<td data-label="{self.heading}" ', 1) if self.heading else cell


def rows(changes: Any, headers: Sequence[Mapping[str, Any]]) -> Iterator[SafeString]:
    """Yield the cells of each row. Narrow screens show the heading of its column beside each."""
    columns = [_column(changes, *pair) for pair in zip(changes.list_display, headers, strict=True)]
    others = copy(changes)
    others.list_display = [column.name for column in columns if column.method is None]
    for row in changes.result_list:
        by_django = items_for_result(others, row, None)
        yield SafeString(
            "".join(
                column.cell(row) if column.method else column.labelled(next(by_django)) for column in columns
            )
        )


def _column(changes: Any, name: Any, header: Mapping[str, Any]) -> _Column:
    heading = "" if name == CHECKBOX else escape(capfirst(str(header["text"])))
    method = getattr(changes.model_admin, name, None) if isinstance(name, str) else None
    by_django = (
        name == CHECKBOX
        or not callable(method)
        or getattr(method, "boolean", False)
        or name in (changes.list_display_links or ())
    )
    empty = getattr(method, "empty_value_display", changes.model_admin.get_empty_value_display())
    return _Column(name, heading, None if by_django else method, empty)
