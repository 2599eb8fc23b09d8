"""A browser journey from the overview to the runs that a bar of a 7-day chart counts, with its clicks counted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from opsconsole.trends import report
from tests.journeys import clicks
from tests.journeys.screens import faults
from tests.journeys.visitor import Visitor
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind, ended

pytestmark = pytest.mark.django_db(transaction=True)


def test_from_a_seven_day_chart_to_its_list(visitor: Visitor) -> None:
    now = timelines.now()
    for _ in range(3):
        ended(now - timedelta(days=3), kind=Kind.FAILED, queue="slow")
    ended(now - timedelta(days=3), queue="slow")
    timelines.count()
    report.memory.clear()
    page = visitor.log_in("olga")
    walk = clicks.Walk(page)

    walk.menu("Jobs")
    walk.link("Trends", within="#console-nav")
    walk.link("7 d")
    bar = page.locator(".trend a", has=page.locator("title", has_text="3 failed"))
    walk.click(bar.locator("rect"))
    expect(page.get_by_role("heading", name="Failed runs")).to_be_visible()
    expect(page.get_by_text("3 runs ended from")).to_be_visible()
    assert page.locator("table.lines tbody tr").count() == 3
    assert walk.clicks == clicks.documented()["A 7-day chart to its list"] <= clicks.MOST


def test_page_fits_a_phone_in_the_dark(visitor: Visitor) -> None:
    ended(timelines.now() - timedelta(hours=2), customer_id="a-customer-with-a-long-name-of-forty-letters")
    timelines.count()
    report.memory.clear()
    page = visitor.log_in("olga", width=390, scheme="dark")
    page.goto(f"{visitor.address}/admin/jobs/runrollup/?by=customer")
    page.locator("summary", has_text="Show as table").click()

    assert faults(visitor, page) == []
