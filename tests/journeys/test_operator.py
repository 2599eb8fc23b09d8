"""Browser tests of the jobs pages, as an operator and as a viewer."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from jobs.models import Job, JobEvent, RecoveryControl
from tests.journeys.scenery import STALE_JOB
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "Its host was shut down, checked with the host's owner."


def open_stale_job(page: Page) -> None:
    """Open the stale job through the navigation and the filter, as after a report that "a job hangs"."""
    if page.viewport_size and page.viewport_size["width"] < 1024:
        page.locator(".menu > summary").click()
        page.locator(".menu").get_by_role("link", name="Jobs", exact=True).click()
    else:
        page.locator("#console-nav").get_by_role("link", name="Jobs", exact=True).click()
    if page.viewport_size and page.viewport_size["width"] < 768:
        page.locator(".fold summary").click()
    page.locator("summary", has_text="Stale now").click()
    page.get_by_role("link", name="Dead worker").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.get_by_role("link", name=str(STALE_JOB)[:8]).click()


@pytest.mark.parametrize("width", [1440, 390])
def test_find_and_requeue_job_and_see_timeline(visitor: Visitor, width: int) -> None:
    page = visitor.log_in("olga", width=width)
    expect(page.locator(".headline")).to_have_text("Nobody is told about alerts: no channel is set.")
    expect(page.locator(".verdict")).to_contain_text("1 run lost its worker.")

    open_stale_job(page)
    expect(page.locator(".why .sentence")).to_contain_text("worker-7f3a@host-2 stopped during this run")
    done = page.locator(".panel", has_text="What its runs already did")
    expect(done).to_contain_text("maps/8812-44")
    expect(done).to_contain_text("maps/8790-02")

    page.get_by_role("link", name="Requeue", exact=True).click()
    expect(page.locator(".lines")).to_contain_text(re.compile(r"Run 2 had done:\s+submitted to maps"))
    expect(page.locator(".lines")).to_contain_text(re.compile(r"Run 1 had done:\s+looked up the customer"))
    page.get_by_label("Reason").fill(REASON)
    page.get_by_role("button", name="Requeue 1 job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 job requeued")
    expect(page.locator(".helped")).to_have_text("Not known yet: 1 of 1 still waiting or running.")
    expect(page.locator(".lines").last).to_contain_text("Queued for run 3.")

    page.get_by_role("region", name="Done:").get_by_role("link", name=str(STALE_JOB)[:8]).click()
    last = page.locator(".timeline > li", has_text="olga")
    expect(last).to_contain_text("Requeued")
    expect(last).to_contain_text(REASON)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Waiting")
    assert Job.objects.get(pk=STALE_JOB).run_epoch == 3


def test_form_requires_reason(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    open_stale_job(page)
    page.get_by_role("link", name="Requeue", exact=True).click()
    # The browser refuses an empty field; spaces reach the server.
    page.get_by_label("Reason").fill("   ")
    page.get_by_role("button", name="Requeue 1 job").click()

    expect(page.locator(".errorlist")).to_have_text("Give a reason: it is kept on each job's timeline.")
    assert not JobEvent.objects.filter(kind="requeued").exists()


def test_cancel_selected_jobs(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    page.goto(f"{visitor.address}/admin/jobs/job/?status=pending")
    boxes = page.locator("input.action-select")
    boxes.nth(0).check()
    boxes.nth(1).check()
    expect(page.locator(".action-counter")).to_have_text("2 of 14 selected")
    page.get_by_role("button", name="Cancel", exact=True).click()

    expect(page.get_by_role("heading", name="Will be cancelled: 2")).to_be_visible()
    page.get_by_label("Reason").fill("ordered twice")
    page.get_by_role("button", name="Cancel 2 jobs").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("2 jobs cancelled")
    assert (
        JobEvent.objects.filter(kind="cancelled", actor="operator:olga", reason="ordered twice").count() == 2
    )


def test_arm_after_a_preview(visitor: Visitor) -> None:
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.OBSERVE)
    page = visitor.log_in("olga")
    page.goto(f"{visitor.address}/admin/jobs/job/")
    expect(page.locator(".banner")).to_contain_text("Recovery only observes: 1 run lost its worker.")

    page.get_by_role("link", name="Open recovery").click()
    page.get_by_label("all runs, however old").check()
    arming = page.locator("form", has=page.get_by_role("button", name="Show preview"))
    arming.get_by_label("Reason").fill("the list is right")
    page.get_by_role("button", name="Show preview").click()
    expect(page.locator("#content")).to_contain_text("1 to requeue")
    assert RecoveryControl.load().mode == RecoveryControl.Mode.OBSERVE
    page.get_by_role("button", name="Arm recovery").click()

    expect(page.locator(".headline")).to_have_text("Recovery is armed.")
    assert RecoveryControl.load().armed
    page.goto(f"{visitor.address}/admin/jobs/job/")
    expect(page.locator(".banner")).to_have_count(0)


def test_viewer_can_read_but_not_act(visitor: Visitor) -> None:
    page = visitor.log_in("vera")
    open_stale_job(page)

    expect(page.locator(".why")).to_be_visible()
    expect(page.locator(".operation")).to_have_count(0)
    page.goto(f"{visitor.address}/admin/jobs/job/")
    expect(page.locator("input.action-select")).to_have_count(0)
    page.goto(f"{visitor.address}/admin/jobs/recoverycontrol/")
    expect(page.locator(".decide")).to_have_count(0)


def test_requeue_by_keyboard_only(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    page.goto(f"{visitor.address}/admin/jobs/job/")
    page.locator("summary", has_text="Status").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Waiting or scheduled")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("details.filter[open]")).to_have_count(0)
    expect(page.locator("summary", has_text="Status")).to_be_focused()


def test_copy_id(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{visitor.address}/admin/jobs/job/{STALE_JOB}/change/")
    page.get_by_role("button", name="Copy id").click()

    expect(page.locator("button.copy.copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == str(STALE_JOB)


def test_theme_can_be_chosen(visitor: Visitor) -> None:
    page = visitor.log_in("olga", scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name=re.compile("Toggle theme")).click()

    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
