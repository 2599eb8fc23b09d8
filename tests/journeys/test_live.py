"""Browser tests of live pages: they update, report an outage, and stop when the session has ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect

from jobs.models import Job, Status
from opsconsole import overview
from tests.factories import job
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

# Milliseconds on the real clock.
SHORTLY = 2_000


@pytest.fixture
def page(visitor: Visitor) -> Iterator[Page]:
    """Open the overview with a clock that the test controls."""
    page = visitor.stranger()
    page.clock.install()
    page.goto(f"{visitor.address}/admin/")
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill("correct-horse-battery")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("[data-live]")).to_be_visible()
    page.wait_for_load_state("load")
    yield page
    # These tests cause refused and failed requests, so ignore the browser's messages about them.
    visitor.complaints[:] = [line for line in visitor.complaints if "Failed to load resource" not in line]


def quarantined(page: Page) -> str:
    return page.locator("dl div", has_text="Quarantined").locator("dd").inner_text()


def time_passes_until(page: Page, holds: Callable[[], None]) -> None:
    """Advance the page's clock by one refresh at a time; on a slow machine one may already be in flight."""
    for _ in range(12):
        page.clock.run_for(10_100)
        try:
            holds()
        except AssertionError:
            continue
        return
    holds()


def test_page_updates_without_reload(page: Page) -> None:
    before = int(quarantined(page))
    job(status=Status.QUARANTINED)
    overview.memory.clear()

    shown = page.locator("dl div", has_text="Quarantined").locator("dd")
    time_passes_until(page, lambda: expect(shown).to_have_text(str(before + 1), timeout=SHORTLY))


def test_page_reports_end_of_session_and_stops_polling(page: Page) -> None:
    Session.objects.all().delete()

    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status))
    note = page.locator("[data-live-note]")

    time_passes_until(page, lambda: expect(note).to_contain_text("Your session has ended", timeout=SHORTLY))

    assert statuses[-1] == 401
    expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    assert page.locator("#login-form").count() == 0
    asked_again: list[str] = []
    page.on("request", lambda request: asked_again.append(request.url))
    page.clock.run_for(60_000)
    assert asked_again == []


def test_page_reports_console_outage_and_recovers(page: Page) -> None:
    page.route("**/overview/live/", lambda route: route.abort())
    note = page.locator("[data-live-note]")
    time_passes_until(page, lambda: expect(note).to_contain_text("Stale since", timeout=SHORTLY))
    expect(page.locator("[data-live]")).to_have_class("stale")

    page.unroute("**/overview/live/")
    time_passes_until(page, lambda: expect(note).to_be_hidden(timeout=SHORTLY))
    expect(page.locator("[data-live]")).not_to_have_class("stale")
    assert Job.objects.exists()


def test_keyboard_focus_survives_update(page: Page) -> None:
    page.get_by_role("link", name="Quarantined", exact=True).focus()

    with page.expect_response(re.compile("overview/live")):
        page.clock.run_for(5_100)
    page.clock.run_for(10)

    expect(page.get_by_role("link", name="Quarantined", exact=True)).to_be_focused()
