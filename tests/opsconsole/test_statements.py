"""No list asks the database more than twelve statements, whatever it shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tests import people
from tests.opsconsole import everything
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db
MOST = 12
# More on purpose: docs/decisions/0068-what-does-not-grow.md says why.
MORE = {"jobs.attachment": 40, "opsconsole.tablesize": 40, "jobs.recoverycontrol": 18, "admin.logentry": 15}
# Only in the transaction of a test, parts of a page are savepoints, and a time limit does not end by itself.
OF_TESTS = ("SAVEPOINT", "RELEASE", "SELECT set_config('statement_timeout', '0'")


@pytest.fixture
def operator(client: Client, settings: Any) -> Client:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()
    client.force_login(people.operator("root"))
    return client


def statements(client: Client, address: str) -> list[str]:
    return [sql for sql in fewest_statements(client, address) if not sql.startswith(OF_TESTS)]


def test_every_list_asks_at_most_twelve_statements(operator: Client) -> None:
    wrong = []
    for model in admin.site._registry:
        label = model._meta.label_lower
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        asked = statements(operator, address)
        if len(asked) > MORE.get(label, MOST):
            wrong.append(f"{address}: {len(asked)}\n  " + "\n  ".join(each[:110] for each in asked))
    assert wrong == [], "\n".join(wrong)
