"""Browser tests of mending a cause: a payload, a lost job, a customer's question, a channel; each with its clicks counted."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from alerts.models import Channel
from alerts.sending import banner
from jobs.models import Job, Status
from tests.journeys.screens import WIDE_IN_DARK, faults
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
MOST_CLICKS = 6


class Clicks:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self, target: Locator) -> None:
        self.number += 1
        target.click()


def failed_job() -> Job:
    job = Job.objects.filter(status=Status.FAILED).earliest("pk")
    Job.objects.filter(pk=job.pk).update(payload={"address": None})
    return job


def test_payload_is_mended_and_the_job_runs_again(visitor: Visitor) -> None:
    job = failed_job()
    page, click = visitor.log_in("olga"), Clicks()
    page.goto(f"{visitor.address}/admin/jobs/job/{job.pk}/change/")
    click(page.get_by_role("link", name="Edit payload"))
    page.get_by_label("Payload").fill('{"address": "Main Street 1"}')
    page.get_by_label("Reason").fill("asked the customer")
    click(page.get_by_role("button", name="Show the changes"))
    expect(page.locator(".diff")).to_contain_text("Main Street 1")
    assert faults(visitor, page) == []
    page.set_viewport_size({"width": 1440, "height": 900})
    click(page.get_by_role("button", name="Save and requeue"))
    expect(page.locator(".messagelist")).to_contain_text("Queued for run 2.")
    expect(page.locator(".timeline")).to_contain_text("Payload edited")
    job.refresh_from_db()
    assert (job.status, job.payload) == (Status.PENDING, {"address": "Main Street 1"})
    assert click.number <= MOST_CLICKS


def test_everything_about_a_customer(visitor: Visitor) -> None:
    job = failed_job()
    page, click = visitor.log_in("olga"), Clicks()
    page.goto(f"{visitor.address}/admin/jobs/job/{job.pk}/change/")
    click(page.locator(".facts").get_by_role("link", name=str(job.customer_id)))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Customer {job.customer_id}")
    for part in ("Jobs", "Dead letters", "Limits", "Open alerts"):
        expect(page.locator("#content-main").get_by_role("heading", name=part, exact=True)).to_be_visible()
    assert faults(visitor, page) == []
    assert click.number <= MOST_CLICKS


def test_job_is_enqueued_by_hand(visitor: Visitor) -> None:
    page, click = visitor.log_in("olga"), Clicks()
    page.goto(f"{visitor.address}/admin/jobs/job/")
    click(page.get_by_role("link", name="Enqueue a job"))
    page.get_by_label("Customer id").fill("CUST-BY-HAND")
    page.get_by_label("Reason").fill("lost in the outage")
    assert faults(visitor, page, WIDE_IN_DARK) == []
    click(page.get_by_role("button", name="Enqueue the job"))
    expect(page.locator(".messagelist")).to_contain_text("The job is enqueued.")
    assert Job.objects.get(customer_id="CUST-BY-HAND").status == Status.PENDING
    assert click.number <= MOST_CLICKS


def test_channel_is_added_routed_and_muted(visitor: Visitor, settings: Any) -> None:
    settings.OPSCONSOLE_CHANNEL_KEYS = ["k" * 40]
    banner.memory.clear()
    page, click = visitor.log_in("olga"), Clicks()
    page.goto(f"{visitor.address}/admin/alerts/channel/")
    click(page.get_by_role("link", name="Add a channel"))
    page.get_by_label("Name").fill("pager")
    page.get_by_label("Address").fill("pagerduty://INTEGRATIONKEYINTEGRATIONKEYABC@APIKEYAPIKEY")
    page.get_by_label("Lowest severity to send").select_option("critical")
    page.get_by_label("Reason").fill("on call")
    assert faults(visitor, page) == []
    page.set_viewport_size({"width": 1440, "height": 900})
    click(page.get_by_role("button", name="Add the channel"))
    expect(page.locator(".messagelist")).to_contain_text("The channel pager was added.")
    click(page.get_by_role("link", name="Mute", exact=True))
    page.get_by_label("Reason").fill("the vendor works on it")
    click(page.get_by_role("button", name="Mute the channel"))
    expect(page.locator(".facts")).to_contain_text("the vendor works on it")
    assert Channel.objects.get(pk="pager").least_severity == "critical"
    assert click.number <= MOST_CLICKS
