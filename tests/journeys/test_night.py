"""Browser tests of a night on call: from an alert's link to a requeued job, also by keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Job, JobEvent, Status
from tests import people
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "its worker is dead"
MOST_CLICKS = 9
MOST_STOPS = 120
FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return {
    seen: ring || style.boxShadow !== 'none',
    text: (at.getAttribute('aria-label') || at.innerText || at.name || at.id || at.tagName).trim(),
    name: at.name || '',
    page: at === document.body,
    what: at.outerHTML.slice(0, 120),
  };
}"""


class Clicks:
    """Clicks on the page as the operator does, and counts the clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def on(self, name: str, role: Any = "link") -> None:
        self.page.get_by_role(role, name=name, exact=True).first.click()
        self.count += 1


def test_from_the_alert_to_the_requeue_in_under_ten_clicks(visitor: Visitor) -> None:
    notify.measure(
        "stale_jobs_day", 9, Trouble(title="9 stale jobs in 24 hours", link="/admin/jobs/job/?stale=any")
    )
    page = visitor.stranger()
    page.goto(f"{visitor.address}/admin/jobs/job/?stale=any")
    clicks = Clicks(page)
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill(people.PASSWORD)
    clicks.on("Log in", "button")

    clicks.on(str(STALE_JOB)[:8])
    expect(page.locator(".why .sentence")).to_contain_text("worker-7f3a@host-2 stopped during this run")
    clicks.on("worker-7f3a@host-2")
    expect(page.locator("#content")).to_contain_text("Dead")
    clicks.on(str(STALE_JOB)[:8])
    clicks.on("Requeue")
    page.get_by_label("Reason").fill(REASON)
    clicks.on("Requeue 1 job", "button")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 job requeued")
    clicks.on(str(STALE_JOB)[:8])
    expect(page.get_by_role("heading", level=1)).to_contain_text("Waiting")

    assert clicks.count <= MOST_CLICKS
    assert JobEvent.objects.filter(job_id=STALE_JOB, kind="requeued", reason=REASON).count() == 1


def tab_to(page: Page, text: str) -> None:
    """Press Tab until the control with this text or name has focus; check that focus is visible at each stop."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        assert at["page"] or at["seen"], f"the focus is not seen on {at['what']}"
        if text in (at["text"], at["name"]):
            return
    raise AssertionError(f"no Tab leads to {text!r}")


def test_from_the_log_in_to_the_requeue_without_a_mouse(visitor: Visitor) -> None:
    page = visitor.stranger()
    page.goto(f"{visitor.address}/admin/jobs/job/?stale=any")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("olga")
    tab_to(page, "password")
    page.keyboard.type(people.PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/jobs/job/?stale=any")

    tab_to(page, str(STALE_JOB)[:8])
    page.keyboard.press("Enter")
    expect(page.locator(".why")).to_be_visible()
    tab_to(page, "Requeue")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Requeue 1 job")).to_be_visible()
    if page.evaluate("document.activeElement.name") != "reason":
        tab_to(page, "reason")
    page.keyboard.type(REASON)
    tab_to(page, "Requeue 1 job")
    page.keyboard.press("Space")

    expect(page.get_by_role("heading", level=1)).to_have_text("1 job requeued")
    assert Job.objects.get(pk=STALE_JOB).status == Status.PENDING
