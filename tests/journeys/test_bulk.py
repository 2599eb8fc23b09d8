"""Browser tests of a bulk operation on 5,000 jobs: previewed, confirmed, watched, cancelled, resumed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from playwright.sync_api import Page, Route, expect

from jobs.models import BulkOperation, Job, JobEvent, Outbox
from tests.jobs.bulk.helpers import chunk, finish, fresh
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 5_000
REASON = "The directory is back, asked its owner."


@pytest.fixture(autouse=True)
def _many_failed(settings: Any, console: str) -> None:
    """Create many failed jobs. The test processes the chunks itself, so that it does not depend on speed."""
    settings.OPSCONSOLE_BULK_PACE = 500
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs (customer_id, package_size, status)"
            " SELECT 'CUST-BULK', 50, 'failed' FROM generate_series(1, %s)",
            [MANY],
        )


def choose_all(visitor: Visitor, page: Page) -> None:
    page.goto(f"{visitor.address}/admin/jobs/job/?q=CUST-BULK")
    page.locator("#action-toggle").check()
    page.get_by_role("button", name=re.compile("Select all")).click()
    page.get_by_role("button", name="Requeue", exact=True).click()


def begin(visitor: Visitor, page: Page) -> BulkOperation:
    choose_all(visitor, page)
    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("Type 5,000 to confirm").fill("5000")
    page.get_by_role("button", name="Requeue 5,000 jobs").click()
    expect(page.locator(".headline")).to_contain_text("5,000 jobs left")
    return BulkOperation.objects.get()


def test_requeue_five_thousand_watch_cancel_and_resume(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    choose_all(visitor, page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Requeue 5,000 jobs?")
    expect(page.locator("#content")).to_contain_text("Selection: search: CUST-BULK.")
    expect(page.get_by_role("heading", name="Will be requeued: 5,000")).to_be_visible()

    page.get_by_label("Reason").fill(REASON)
    page.get_by_label("Type 5,000 to confirm").fill("500")
    page.get_by_role("button", name="Requeue 5,000 jobs").click()
    expect(page.locator(".errorlist")).to_have_text("Type 5,000 to confirm that you mean 5,000 jobs.")
    page.get_by_label("Type 5,000 to confirm").fill("5,000")
    page.get_by_role("button", name="Requeue 5,000 jobs").click()

    expect(page.locator(".headline")).to_contain_text("Running 5,000 jobs left")
    operation = BulkOperation.objects.get()
    for _ in range(3):
        chunk(operation)
    expect(page.locator(".headline")).to_contain_text("3,500 jobs left")
    expect(page.locator("progress.bar")).to_have_attribute("value", "1500")
    expect(page.locator("[data-live-state]")).to_contain_text("Live, ")
    page.get_by_role("button", name="Pause updates").click()
    expect(page.locator("[data-live-state]")).to_contain_text("Paused. From ")
    page.get_by_role("button", name="Resume updates").click()
    expect(page.locator("[data-live-state]")).to_contain_text("Live, ")

    page.get_by_label("Reason").fill("the wrong directory")
    page.get_by_role("button", name="Stop the rest").click()
    expect(page.locator(".headline")).to_contain_text("Stopped by olga: the wrong directory")
    assert not chunk(operation)

    page.get_by_label("Reason").fill("it was the right one")
    page.get_by_role("button", name="Resume with 3,500").click()
    expect(page.locator(".headline")).to_contain_text("3,500 jobs left")
    finish(operation)
    # The page updates itself when the operation ends.
    expect(page.locator(".headline")).to_contain_text("5,000 jobs requeued.")
    expect(page.locator("#content")).to_contain_text("it was the right one")

    assert Job.objects.filter(customer_id="CUST-BULK", status="pending").count() == MANY
    events = JobEvent.objects.filter(kind="requeued", reason=REASON, actor="operator:olga")
    assert events.values("job_id").distinct().count() == events.count() == MANY
    assert Outbox.objects.filter(reason="operator_requeue").count() == MANY


def test_page_reports_end_of_session(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    operation = begin(visitor, page)
    Session.objects.all().delete()
    chunk(operation)

    expect(page.locator("[data-live-note]")).to_contain_text("Your session has ended")
    expect(page.locator(".headline")).to_contain_text("5,000 jobs left")
    assert all("401" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()
    page.locator("[data-live-note]").get_by_role("link", name="Log in again").click()
    expect(page.get_by_label("Username")).to_be_visible()


def test_page_survives_console_outage(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    operation = begin(visitor, page)
    page.route("**/progress/", lambda route: route.abort())
    expect(page.locator("[data-live-note]")).to_contain_text("the console does not answer")
    page.unroute("**/progress/")
    chunk(operation)
    expect(page.locator(".headline")).to_contain_text("4,500 jobs left")
    expect(page.locator("[data-live-note]")).to_be_hidden()
    visitor.complaints.clear()


def test_hidden_tab_stops_polling_and_refreshes_when_shown(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    operation = begin(visitor, page)
    asked: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    page.route("**/progress/", note)
    hide = "h => { Object.defineProperty(document, 'hidden', {value: h, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, arg=True)
    asked.clear()
    chunk(operation)
    page.wait_for_timeout(3_000)
    assert asked == []
    page.evaluate(hide, arg=False)
    expect(page.locator(".headline")).to_contain_text("4,500 jobs left")
    assert asked


def test_viewer_can_watch_but_not_act(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    operation = begin(visitor, page)
    other = visitor.log_in("vera")
    other.goto(f"{visitor.address}/admin/jobs/bulkoperation/")
    other.get_by_role("link", name="Requeue 5,000 jobs").click()
    expect(other.locator(".headline")).to_contain_text("5,000 jobs left")
    expect(other.locator(".operation")).to_have_count(0)
    chunk(operation)
    expect(other.locator(".headline")).to_contain_text("4,500 jobs left")
    assert fresh(operation).state == "running"
