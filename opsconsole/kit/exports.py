"""Rows as CSV or JSON, streamed page by page, so that a million of them need no more memory than a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

FORMS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
PAGE = 1_000
# A cell that begins so would be run as a formula by a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def stream(
    rows: QuerySet[Any],
    columns: Sequence[str],
    cells: Callable[[Any], Sequence[str]],
    *,
    form: str,
    name: str,
) -> StreamingHttpResponse:
    """A download of all ``rows``, which are ordered by descending id. ``cells`` are a row's, in ``columns``' order."""
    lines = _csv if form == "csv" else _json
    response = StreamingHttpResponse(lines(columns, map(cells, _paged(rows))), content_type=FORMS[form])
    stamp = timezone.now().strftime("%Y%m%d-%H%M%S")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{stamp}.{form}"'
    return response


def _paged(rows: QuerySet[Any]) -> Iterator[Any]:
    """By keyset: behind a pooler there are no server-side cursors."""
    page = list(rows[:PAGE])
    while page:
        yield from page
        page = list(rows.filter(pk__lt=page[-1].pk)[:PAGE]) if len(page) == PAGE else []


class _Echo:
    def write(self, text: str) -> str:
        return text


def _csv(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow([_harmless(cell) for cell in row])


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _json(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """An array of objects, a line each."""
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"
