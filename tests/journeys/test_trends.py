"""A browser journey from the overview to the runs that a bar of a 7-day chart counts, with its clicks counted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from opsconsole.trends import report
from tests.journeys import clicks
from tests.journeys.screens import IN_TURN, faults
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


def test_page_and_its_tables_fit_every_screen(visitor: Visitor) -> None:
    ended(timelines.now() - timedelta(hours=2), customer_id="a-customer-with-a-long-name-of-forty-letters")
    timelines.count()
    report.memory.clear()
    page = visitor.log_in("olga", width=390, scheme="dark")
    page.goto(f"{visitor.address}/admin/jobs/runrollup/?by=customer")
    page.locator("summary", has_text="Show as table").click()

    assert faults(visitor, page, IN_TURN[0]) == []


# The contrast of each key of the legend, and of the line of the period before, with the panel: WCAG asks for 3:1.
CONTRAST = """() => {
    const ground = document.querySelector('.trends-page .panel');
    const bytes = colour => {
        const pen = new OffscreenCanvas(1, 1).getContext('2d');
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = colour => bytes(colour).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
    const below = light(getComputedStyle(ground).backgroundColor);
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    line.setAttribute('class', 'course course-before');
    document.querySelector('.trend svg').append(line);
    const colours = [...document.querySelectorAll('.trend .key')]
        .map(key => [key.textContent, getComputedStyle(key, '::before').backgroundColor]);
    return [...colours, ['line', getComputedStyle(line).stroke]].map(([name, colour]) => {
        const [low, high] = [light(colour), below].sort((a, b) => a - b);
        return [name, (high + 0.05) / (low + 0.05)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legend_of_a_chart_can_be_told_from_its_panel(visitor: Visitor, scheme: str) -> None:
    page = visitor.log_in("olga", scheme=scheme)
    page.goto(f"{visitor.address}/admin/jobs/runrollup/")
    contrasts = dict(page.evaluate(CONTRAST))

    assert {"p50", "the period before", "line"} <= contrasts.keys()
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 3} == {}
