"""Browser test of a night on call without a mouse: from the log-in to a requeued job."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from jobs.models import Job, Status
from tests import people
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "its worker is dead"
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
