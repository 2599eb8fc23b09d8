"""The pictures of the README, taken of real pages: ``make screenshots``. Not among the tests of ``make test``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 150_000


@pytest.mark.parametrize(
    ("name", "path", "width", "height", "scheme"),
    [
        ("overview", "", 1280, 640, "light"),
        ("jobs", "jobs/job/", 1280, 800, "light"),
        ("job", f"jobs/job/{STALE_JOB}/change/", 1200, 1060, "light"),
        ("job-dark", f"jobs/job/{STALE_JOB}/change/", 1200, 800, "dark"),
        ("job-phone", f"jobs/job/{STALE_JOB}/change/", 390, 900, "light"),
    ],
)
def test_take(visitor: Visitor, name: str, path: str, width: int, height: int, scheme: str) -> None:
    page = visitor.log_in("olga", width=width, scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{visitor.address}/admin/{path}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / f"{name}.png"
    page.screenshot(path=target)

    assert target.stat().st_size < MOST_BYTES, f"{target.name} is too heavy for a README"
