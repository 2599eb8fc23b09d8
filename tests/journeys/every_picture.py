"""A picture of every page at each width, light and dark, to be looked at: ``make screenshots``. Not part of ``make test``.

They go to var/pictures, with a page per width and theme that shows them side by side.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.journeys.test_pages import GROUPS, beside, pages
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2] / "var" / "pictures"
WIDTHS = (1440, 1024, 390)
SCHEMES: tuple[Any, ...] = ("light", "dark")
HEIGHT = 900
SHEET = """<!doctype html><meta charset="utf-8">
<style>body {{ display: flex; flex-wrap: wrap; gap: 12px; font: 11px sans-serif }}
img {{ width: {shown}px; display: block; border: 1px solid gray }}</style>{pictures}"""


def test_take_every_page(chromium: Browser, full_console: str) -> None:
    visitor = Visitor(chromium, full_console)
    page = visitor.log_in("olga")
    found = [
        path for group in GROUPS for path in dict.fromkeys([*pages(group), *beside().get(group, list)()])
    ]
    for path in found:
        page.goto(f"{visitor.address}/admin/{path}")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.screenshot(
                    path=_folder(width, scheme) / f"{_name(path)}.png", full_page=True, timeout=120_000
                )
    for width in WIDTHS:
        for scheme in SCHEMES:
            _sheet(width, scheme, [_name(path) for path in found])
    visitor.close()


def _folder(width: int, scheme: str) -> Path:
    return FOLDER / f"{width}-{scheme}"


def _name(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-")[:80] or "overview"


def _sheet(width: int, scheme: str, names: list[str]) -> None:
    pictures = "".join(f"<div>{escape(name)}<img src='{name}.png'></div>" for name in names)
    sheet = SHEET.format(shown=min(width, 460), pictures=pictures)
    (_folder(width, scheme) / "index.html").write_text(sheet)
