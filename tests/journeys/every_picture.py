"""A picture of every page at each width, light and dark, to be looked at: ``make screenshots``. Not part of ``make test``.

They go to var/pictures, with a page per width and theme that shows them side by side.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from playwright.sync_api import Browser

from tests import people
from tests.audit_tables import without_triggers
from tests.journeys import letters, night
from tests.journeys.test_pages import GROUPS, beside, pages
from tests.journeys.visitor import Visitor
from tests.opsconsole import everything

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2] / "var" / "pictures"
WIDTHS = (1440, 1024, 390)
SCHEMES: tuple[Any, ...] = ("light", "dark")
HEIGHT = 900
SHEET = """<!doctype html><meta charset="utf-8">
<style>body {{ display: flex; flex-wrap: wrap; gap: 12px; font: 11px sans-serif }}
img {{ width: {shown}px; display: block; border: 1px solid gray }}</style>{pictures}"""


@pytest.fixture
def night_console(live_server: Any, settings: Any) -> str:
    """Yield the URL of a console with one row of every model, on the night of which the pictures of the tour tell."""
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    settings.OPSCONSOLE_ENV = "production"
    settings.QUEUES = letters.queues()
    people.operator()
    everything.build(jobs=3_000, problems=night.build)
    return str(live_server.url)


def test_take_every_page(chromium: Browser, night_console: str) -> None:
    visitor = Visitor(chromium, night_console)
    # Ids differ from one time to the next.
    rmtree(FOLDER, ignore_errors=True)
    found = _paths()
    night.keep_alive()
    page = visitor.log_in("olga")
    for path in found:
        # Otherwise all that is alive would look dead on the later pictures.
        night.keep_alive()
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


def _paths() -> list[str]:
    """Return the address of every page. What finding them has written to the audit is taken back."""
    newest = LogEntry.objects.latest("pk").pk
    found = [
        path for group in GROUPS for path in dict.fromkeys([*pages(group), *beside().get(group, list)()])
    ]
    with without_triggers():
        LogEntry.objects.filter(pk__gt=newest).delete()
    return [re.sub(r"^admin/logentry/\d+/", f"admin/logentry/{newest}/", path) for path in found]


def _folder(width: int, scheme: str) -> Path:
    return FOLDER / f"{width}-{scheme}"


def _name(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-")[:80] or "overview"


def _sheet(width: int, scheme: str, names: list[str]) -> None:
    pictures = "".join(f"<div>{escape(name)}<img src='{name}.png'></div>" for name in names)
    sheet = SHEET.format(shown=min(width, 460), pictures=pictures)
    (_folder(width, scheme) / "index.html").write_text(sheet)
