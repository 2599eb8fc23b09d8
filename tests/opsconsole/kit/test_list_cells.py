"""The cells of every list are those that Django's admin makes, with the heading of their column."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import items_for_result, result_headers
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils.html import escape
from django.utils.text import capfirst

from opsconsole.kit import list_cells
from tests import factories, people
from tests.opsconsole import everything, marked

pytestmark = pytest.mark.django_db


def by_django(changes: Any, headers: list[dict[str, Any]]) -> list[str]:
    """Return the cells of each row as Django makes them, each with its heading but that of the checkboxes."""
    rows = []
    for row in changes.result_list:
        cells = [str(cell) for cell in items_for_result(changes, row, None)]
        headings = [escape(capfirst(str(header["text"]))) for header in headers]
        boxes = ["action-checkbox" in str(header.get("class_attrib")) for header in headers]
        rows.append(
            "".join(
                cell if box else cell.replace("<td ", f'<td data-label="{heading}" ', 1)
                for cell, heading, box in zip(cells, headings, boxes, strict=True)
            )
        )
    return rows


def unmarked(changes: Any, headers: list[dict[str, Any]]) -> list[str]:
    """Return our cells of each row, without the mark of those with a long word."""
    return [str(cells).replace(' long"', '"') for cells in list_cells.rows(changes, headers)]


def test_cells_of_every_list_are_those_of_django(client: Client, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()
    marked.everything()
    client.force_login(people.operator("root"))
    compared = 0
    for model in admin.site._registry:
        context = client.get(
            reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        ).context
        changes = context.get("cl") if context else None
        if changes is None:
            continue
        headers = list(result_headers(changes))
        theirs = by_django(changes, headers)
        # An age may tick between the two.
        while True:
            ours, before, theirs = (
                unmarked(changes, headers),
                theirs,
                by_django(changes, headers),
            )
            if before == theirs:
                break
        assert ours == theirs, model
        compared += len(changes.result_list)
    assert compared > 100


@pytest.mark.parametrize("priority", ["growth", "", "  ", "<b>&amp;", "1,000"])
def test_field_of_text_is_shown_as_django_shows_it(client: Client, priority: str) -> None:
    factories.job(priority_level=priority)
    client.force_login(people.operator("root"))
    changes = client.get(reverse("admin:jobs_job_changelist")).context["cl"]
    headers = list(result_headers(changes))

    assert list(list_cells.rows(changes, headers)) == by_django(changes, headers)


LONG = "c" * 24
WORDS = (
    (LONG, True),
    (f"a customer named {LONG}.", True),
    (LONG[1:], False),
    (f"{LONG[1:]} {LONG[1:]}", False),
)


@pytest.mark.parametrize(("customer", "marked_long"), WORDS)
def test_cell_with_a_long_word_is_marked(client: Client, customer: str, marked_long: bool) -> None:
    factories.job(customer_id=customer, priority_level=customer)
    client.force_login(people.operator("root"))
    changes = client.get(reverse("admin:jobs_job_changelist")).context["cl"]

    [cells] = list_cells.rows(changes, list(result_headers(changes)))

    assert ('class="field-customer long"' in cells) == marked_long
    assert ('class="field-priority_level long"' in cells) == marked_long


def test_cell_made_by_django_is_marked_too(client: Client) -> None:
    group = Group.objects.create(name=LONG)
    client.force_login(people.operator("root"))
    changes = client.get(reverse("admin:auth_group_changelist"), {"q": group.name}).context["cl"]

    [cells] = list_cells.rows(changes, list(result_headers(changes)))

    assert '<th class="field-name long">' in cells
