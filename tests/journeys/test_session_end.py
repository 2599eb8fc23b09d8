"""Browser tests of a form whose session ends while somebody writes: the browser says itself where it came from."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from jobs.models import Job, Status
from tests.factories import job
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


def test_reason_survives_the_end_of_the_session(visitor: Visitor) -> None:
    failed = job(status=Status.FAILED)
    page = visitor.log_in("olga")
    page.goto(f"{visitor.address}/admin/jobs/job/operate/requeue/?id={failed.pk}")
    page.get_by_label("Reason").fill("the address is mended")
    Session.objects.all().delete()
    page.get_by_role("button", name="Requeue 1 job").click()

    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("the address is mended")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Log in and open the form again").click()
    again = opened.value
    again.get_by_label("Username").fill("olga")
    again.get_by_label("Password").fill("correct-horse-battery")
    again.get_by_role("button", name="Log in").click()
    again.get_by_label("Reason").fill(page.get_by_label("Reason").input_value())
    again.get_by_role("button", name="Requeue 1 job").click()
    expect(again.get_by_role("heading", name="1 job requeued")).to_be_visible()
    assert Job.objects.get(pk=failed.pk).status == Status.PENDING
    # The browser tells of each answer that is an error.
    visitor.complaints[:] = [line for line in visitor.complaints if "Failed to load resource" not in line]
