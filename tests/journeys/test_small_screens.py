"""Browser tests of phones and tablets: where lists begin, one line where there is room, and a menu with every page."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now
from playwright.sync_api import expect

from jobs.models import Sweep
from opsconsole.kit.durations import MINUTE
from tests.factories import SECOND
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def console(full_console: str) -> str:
    return full_console


# Lists with filters set, which stack up on a phone. A banner is not theirs: it is there until its cause is gone.
LISTS = (
    "jobs/job/?status=failed&priority=starter",
    "jobs/deadletter/?state=all&queue=default",
    "alerts/alert/?state=all",
    "jobs/workerheartbeat/",
    "jobs/sweep/",
    "jobs/runrollup/",
    "admin/logentry/",
    "ratelimits/apikey/",
)


def test_lists_begin_within_the_first_screen_of_a_phone(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    begins = {}
    for place in LISTS:
        page.goto(f"{visitor.address}/admin/{place}")
        first = page.locator("#result_list tbody tr, figure.chart").first.bounding_box()
        banners = page.locator("#banners").bounding_box()
        assert first and banners, place
        begins[place] = first["y"] - banners["height"]

    assert {place: top for place, top in begins.items() if top > 450} == {}


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_what_a_list_offers_stands_beside_its_title(visitor: Visitor, width: int) -> None:
    """Django's own place for it is that of the tabs, which it hid."""
    page = visitor.log_in("olga", width=width)
    for place in ("jobs/job", "admin/logentry", "alerts/channel", "ratelimits/apikey"):
        page.goto(f"{visitor.address}/admin/{place}/")
        title = page.locator("#content > h1").evaluate(
            "each => { const words = document.createRange(); words.selectNodeContents(each);"
            " return words.getBoundingClientRect().toJSON(); }"
        )
        tools, tabs = (page.locator(each).bounding_box() for each in (".object-tools", ".tabs"))

        assert tools and tabs, place
        assert title["right"] < tools["x"] and tools["x"] + tools["width"] <= width, place
        assert title["top"] < tools["y"] + tools["height"] <= tabs["y"], place


@pytest.mark.parametrize(
    "place", ["jobs/outbox/", f"jobs/job/{STALE_JOB}/change/", "ratelimits/ratelimithour/"]
)
def test_way_back_has_one_line_on_a_phone(visitor: Visitor, place: str) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/{place}")
    back = page.locator(".breadcrumbs a").last

    box, way = back.bounding_box(), page.locator(".breadcrumbs").bounding_box()
    bar = page.locator(".live-bar").bounding_box()

    assert box and way and bar
    assert way["height"] < 40 and box["x"] + box["width"] <= bar["x"]


def test_sweeps_that_found_nothing_take_one_line_on_a_tablet(visitor: Visitor) -> None:
    # A note needs its room.
    Sweep.objects.update(note="")
    made = [
        Sweep.objects.create(
            trigger="schedule", mode=Sweep.Mode.ARMED, started_at=Now() - ago, finished_at=Now() - ago
        )
        for ago in (SECOND, 12 * MINUTE, 59 * MINUTE)
    ]
    page = visitor.log_in("olga", width=768)
    page.goto(f"{visitor.address}/admin/jobs/sweep/")

    heights = [page.locator(f'tr[data-row="{sweep.pk}"]').bounding_box() for sweep in made]
    assert all(box and box["height"] < 50 for box in heights)


@pytest.mark.parametrize("width", [768, 390])
def test_menu_has_every_page_and_fits_a_phone(visitor: Visitor, width: int) -> None:
    page = visitor.log_in("olga", width=width)
    page.goto(f"{visitor.address}/admin/jobs/job/")
    page.locator(".menu > summary").click()
    menu = page.locator(".menu > nav")

    for name in ("API keys", "Failure groups", "Sweeps", "Audit", "Scheduled tasks"):
        expect(menu.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(menu.get_by_role("link", name="Jobs", exact=True)).to_have_count(1)
    box = menu.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    small = menu.locator("a").evaluate_all(
        "found => found.filter(each => each.getBoundingClientRect().height < 24).map(each => each.textContent)"
    )
    assert small == []
