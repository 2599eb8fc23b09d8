"""Browser tests of the filters: those that are typed by keyboard on a phone, and how a phone folds them."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Browser, expect

from jobs.models import Job
from tests.journeys.screens import faults
from tests.journeys.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


def test_typed_filters_by_keyboard_on_a_phone(visitor: Visitor) -> None:
    job = Job.objects.filter(customer_id__gt="").earliest("pk")
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/?status=completed&o=5")
    page.locator(".fold summary").click()
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


def test_phone_folds_the_filters_and_says_how_many_are_set(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/")
    fold = page.locator(".fold summary")
    filters = page.get_by_role("navigation", name="Filters")

    expect(fold).to_have_text("Filters")
    expect(filters).to_be_hidden()
    fold.click()
    page.locator("#filters summary").filter(has_text="Status").click()
    filters.get_by_role("link", name="Failed").first.click()
    expect(fold).to_have_text("Filters: 1 set")
    expect(page.locator("#filters > :visible")).to_have_text(
        [re.compile("Status:\\s+Failed"), "Clear filters"]
    )
    # A menu that only sorts leaves no row out, and is no filter.
    page.goto(f"{visitor.address}/admin/jobs/job/?status=failed&priority=growth&sort=attempts")
    expect(fold).to_have_text("Filters: 2 set")
    page.set_viewport_size({"width": 768, "height": 900})
    expect(fold).to_be_hidden()
    expect(filters).to_be_visible()


@pytest.mark.parametrize("query", ["status=failed&customer=nobody", "since=yesterday", "status=fialed"])
def test_filters_that_leave_no_row_are_unfolded(visitor: Visitor, query: str) -> None:
    page = visitor.log_in("olga", width=390)
    page.goto(f"{visitor.address}/admin/jobs/job/?{query}")

    expect(page.get_by_role("navigation", name="Filters")).to_be_visible()


def test_filters_unfold_without_scripts(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=390)
    context = visitor.browser.new_context(
        java_script_enabled=False,
        viewport={"width": 390, "height": 844},
        storage_state=page.context.storage_state(),
    )
    still = context.new_page()
    visitor.pages.append(still)
    still.goto(f"{visitor.address}/admin/jobs/job/")
    still.locator(".fold summary").click()

    expect(still.get_by_role("navigation", name="Filters")).to_be_visible()


def test_first_row_of_each_list_is_on_the_first_screen_of_a_phone(
    chromium: Browser, full_console: str
) -> None:
    visitor = Visitor(chromium, full_console)
    page = visitor.log_in("olga", width=390)
    page.set_viewport_size({"width": 390, "height": 844})
    tops = {}
    for model in admin.site._registry:
        page.goto(
            visitor.address + reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        )
        row = page.locator("#changelist tbody tr")
        if row.count() and (box := row.first.bounding_box()):
            tops[model._meta.label] = box["y"]
    visitor.close()

    assert len(tops) > 15
    # With its first two lines.
    assert {name: top for name, top in tops.items() if top > 844 - 120} == {}


def test_menu_of_a_filter_is_whole_over_a_short_list(visitor: Visitor) -> None:
    page = visitor.log_in("olga", width=1440)
    page.goto(f"{visitor.address}/admin/jobs/job/?q=nobody")
    page.locator("#filters summary").filter(has_text="Status").click()
    last = page.locator("#filters details[open] li a").last

    assert last.evaluate(
        "each => { const box = each.getBoundingClientRect();"
        " return document.elementFromPoint(box.x + 10, box.y + box.height / 2) === each; }"
    )
