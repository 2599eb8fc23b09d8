"""The screenshots of the README, taken from real pages by ``make screenshots``. Not part of ``make test``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from alerts.models import Alert
from jobs.models import Job, Status
from tests.journeys import letters, night, scenery
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 160_000


PAGES = [
    ("overview", "", 1280, 935, "light"),
    ("overview-dark", "", 1280, 935, "dark"),
    ("jobs", "jobs/job/", 1280, 800, "light"),
    ("job", f"jobs/job/{STALE_JOB}/change/", 1200, 960, "light"),
    ("job-dark", f"jobs/job/{STALE_JOB}/change/", 1200, 800, "dark"),
    ("job-phone", f"jobs/job/{STALE_JOB}/change/", 390, 900, "light"),
    ("dead-letters", "jobs/deadletter/", 1280, 720, "light"),
    ("dead-letter", f"jobs/deadletter/{letters.CAME_BACK}/change/", 1280, 700, "light"),
    ("alerts", "alerts/alert/", 1280, 560, "light"),
    ("alert", "alerts/alert/{alert}/change/", 1000, 760, "dark"),
    ("customer", "customer/?id=CUST-04218", 1280, 700, "light"),
    ("controls", "opsconsole/pause/", 1280, 760, "light"),
    ("limited-requests", "ratelimits/ratelimithour/", 1280, 900, "light"),
]


@pytest.fixture(autouse=True)
def _night(console: str, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.QUEUES = letters.queues()
    settings.OPSCONSOLE_ENV = "production"
    # Two days of them, so that the day before stands behind each chart.
    scenery.ended_jobs(range(2_000, 3_100))
    night.build()


@pytest.mark.parametrize(("name", "path", "width", "height", "scheme"), PAGES)
def test_take_screenshots(
    visitor: Visitor, name: str, path: str, width: int, height: int, scheme: str
) -> None:
    page = visitor.log_in("olga", width=width, scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{visitor.address}/admin/{path.format(alert=dead_letters_alert())}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / f"{name}.png"
    page.screenshot(path=target)

    assert target.stat().st_size < MOST_BYTES, f"{target.name} is too heavy for a README"


def test_take_what_became_of_a_replay(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=1280)
    page.set_viewport_size({"width": 1280, "height": 560})
    page.goto(f"{visitor.address}/admin/jobs/deadletter/operate/replay/?id={letters.CAME_BACK}")
    page.get_by_label("Reason").fill("maps answers again")
    page.get_by_role("button", name="Replay 1 dead letter").click()
    Job.objects.filter(pk=letters.job_of(letters.CAME_BACK)).update(status=Status.COMPLETED)
    expect(page.locator(".helped")).to_have_text("It helped: the job has completed.")
    page.screenshot(path=FOLDER / "did-it-help.png")


def dead_letters_alert() -> int:
    return int(Alert.objects.get(rule="dlq_not_empty").pk)
