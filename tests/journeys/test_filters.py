"""A browser test of the filters that are typed: by keyboard, on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jobs.models import Job
from tests.journeys.screens import faults
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


def test_typed_filters_by_keyboard_on_a_phone(visitor: Visitor) -> None:
    job = Job.objects.filter(customer_id__gt="").earliest("pk")
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/?status=completed&o=5")
    summary = page.locator(".filter.typed summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Customer", exact=True)).to_be_visible()
    assert faults(visitor, page) == []
    page.set_viewport_size({"width": 390, "height": 900})
    page.get_by_label("Customer", exact=True).fill(str(job.customer_id))
    page.get_by_label("Created from (UTC)").fill("2020-01-01T00:00:00")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**?status=completed&o=5&customer={job.customer_id}&since=2020-01-01T00*")
    expect(page.get_by_role("link", name=f"Remove the filter Customer: {job.customer_id}")).to_be_visible()
