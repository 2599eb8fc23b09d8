"""A browser that runs no scripts: everything but the live updates works, and nothing is shown that can't."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from playwright.sync_api import Page, expect

from jobs.models import Job, Status
from tests import people
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
LIVE = ("", "jobs/job/", "jobs/workerheartbeat/", "jobs/deadletter/", "alerts/alert/", "jobs/runrollup/")


@pytest.fixture
def page(visitor: Visitor) -> Page:
    context = visitor.browser.new_context(java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = context.new_page()
    visitor.pages.append(page)
    page.goto(f"{visitor.address}/admin/")
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill(people.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    return page


def test_pages_that_would_update_say_from_when_they_are(page: Page, visitor: Visitor) -> None:
    for path in LIVE:
        page.goto(f"{visitor.address}/admin/{path}")
        expect(page.locator(".as-of").first).to_contain_text("As of ")
        expect(page.locator(".as-of").first).to_be_visible()
        expect(page.get_by_role("button", name="Pause updates")).to_be_hidden()


def test_nothing_that_needs_a_script_is_shown(page: Page, visitor: Visitor) -> None:
    page.goto(f"{visitor.address}/admin/jobs/job/")
    assert page.locator("button.copy").count() > 0
    for part in page.locator("button.copy, #action-toggle, .action-counter, .theme-toggle").all():
        expect(part).to_be_hidden()


def test_job_is_found_by_a_filter_and_requeued(page: Page, visitor: Visitor) -> None:
    failed = Job.objects.filter(status=Status.FAILED).latest("created_at")
    page.goto(f"{visitor.address}/admin/jobs/job/")
    page.locator("#filters summary").filter(has_text="Status").click()
    page.locator("#filters").get_by_role("link", name="Failed").first.click()
    page.get_by_role("row").filter(has_text=str(failed.pk)[:8]).get_by_role("checkbox").check()
    page.get_by_role("button", name="Requeue", exact=True).click()
    page.get_by_label("Reason").fill("the directory answers again")
    page.get_by_role("button", name="Requeue 1 job").click()
    failed.refresh_from_db()
    assert (failed.status, failed.run_epoch) == (Status.PENDING, 2)
    assert LogEntry.objects.filter(object_id=str(failed.pk)).exists()
