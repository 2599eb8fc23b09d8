"""The parts of a chart that repeat, as markup: its bars, and the rows of its table.

They are not in a template, which takes several times as long for some hundred of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Protocol

from django.utils.safestring import SafeString, mark_safe


class Rectangle(Protocol):
    @property
    def x(self) -> str: ...
    @property
    def y(self) -> str: ...
    @property
    def width(self) -> str: ...
    @property
    def height(self) -> str: ...
    @property
    def tone(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...


def rectangles(bars: Iterable[Rectangle]) -> SafeString:
    """Draw bars, each with its title, and with a link where there is a list of what it counts."""
    return mark_safe("".join(_rectangle(bar) for bar in bars))  # noqa: S308 - escaped below


def _rectangle(bar: Rectangle) -> str:
    drawn = (
        f'<rect x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}" class="bar bar-{bar.tone}">'
        f"<title>{escape(bar.title)}</title></rect>"
    )
    return f'<a href="{escape(bar.url)}" tabindex="-1">{drawn}</a>' if bar.url else drawn


def table_rows(rows: Iterable[Sequence[tuple[str, str]]]) -> SafeString:
    """Write the rows of a table of figures: of each its label, and its figures with the address of what each counts."""
    return mark_safe("".join(_table_row(*row) for row in rows))  # noqa: S308 - escaped below


def _table_row(label: tuple[str, str], *figures: tuple[str, str]) -> str:
    cells = "".join(
        f'<td><a href="{escape(url)}">{escape(text)}</a></td>' if url else f"<td>{escape(text)}</td>"
        for text, url in figures
    )
    return f'<tr><th scope="row">{escape(label[0])}</th>{cells}</tr>'
