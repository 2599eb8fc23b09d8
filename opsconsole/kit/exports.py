"""Exports as CSV or JSON, streamed page by page, so that a million rows need no more memory than a page."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from opsconsole.kit.characters import first_visible

FORMS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
PAGE = 1_000
# What a formula begins with; some spreadsheets take the minus sign of typesetters for a minus, too.
FORMULA_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
LEADING_TAB_OR_RETURN = re.compile(r"\s*[\t\r]")
NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")

Cell = str | int | float


def stream(
    rows: QuerySet[Any],
    columns: Sequence[str],
    cells: Callable[[Any], Sequence[Cell]],
    *,
    form: str,
    name: str,
) -> StreamingHttpResponse:
    """Return a download of all ``rows``, which are ordered by descending id. ``cells`` are a row's, in ``columns``' order."""
    stamp = timezone.now().strftime("%Y%m%d-%H%M%S")
    return download(columns, map(cells, _paged(rows)), form=form, name=f"{name}-{stamp}")


def download(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, form: str, name: str
) -> StreamingHttpResponse:
    """Return a download of ``rows`` in one of ``FORMS``; its file is ``name`` with the form for an ending."""
    lines = csv_lines if form == "csv" else _json_lines
    disposition = f'attachment; filename="{name}.{form}"'
    return StreamingHttpResponse(
        lines(columns, rows), content_type=FORMS[form], headers={"Content-Disposition": disposition}
    )


def _paged(rows: QuerySet[Any]) -> Iterator[Any]:
    """Yield the rows in pages by keyset, because there are no server-side cursors behind a pooler."""
    page = list(rows[:PAGE])
    while page:
        yield from page
        page = list(rows.filter(pk__lt=page[-1].pk)[:PAGE]) if len(page) == PAGE else []


class _Echo:
    """A file that returns what is written to it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Yield the lines of a CSV file, whose texts no spreadsheet takes for formulas."""
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow([harmless(cell) for cell in row])


def harmless(cell: Cell) -> Cell:
    """Return the cell, with an apostrophe before a text that a spreadsheet would run as a formula.

    Spreadsheets skip what nobody sees before they look for the sign, and take the wide forms of East Asian
    text for the sign. A number stays a number.
    """
    if not isinstance(cell, str) or NUMBER.fullmatch(cell):
        return cell
    sign = unicodedata.normalize("NFKC", first_visible(cell))
    return f"'{cell}" if sign in FORMULA_SIGNS or LEADING_TAB_OR_RETURN.match(cell) else cell


def _json_lines(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Yield an array of objects, one per line."""
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"
