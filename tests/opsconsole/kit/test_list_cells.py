"""The cells of every list are those that Django's admin makes, with the heading of their column."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import items_for_result, result_headers
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
                list(list_cells.rows(changes, headers)),
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
