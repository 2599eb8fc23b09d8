"""The page of a row offers what its list offers for it, with the same question and for the same permissions."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX
from opsconsole.kit.read_only_admin import PageAdmin
from tests import people
from tests.opsconsole import everything
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
REASON = "the vendor is down"


@pytest.fixture
def sweep() -> Schedule:
    schedules.sync()
    return schedules.ours().get(name=f"{PREFIX}sweep")


def of(row: Any, page: str = "change") -> str:
    arguments = [quote(row.pk)] if page == "change" else []
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=arguments)


def offered(client: Client, row: Any) -> dict[str, str]:
    """Return the buttons on the page of a row: their labels by the names of the actions."""
    page = client.get(of(row)).content.decode()
    return dict(re.findall(r'name="action" value="(\w+)">([^<]+)<', page))


def send(client: Client, row: Any, action: str) -> Any:
    """Press a button on the page of a row, and answer its question."""
    form = re.search(
        r'<form method="post" action="([^"]+)">.*?</form>', client.get(of(row)).content.decode(), re.DOTALL
    )
    assert form, "the page has no form with actions"
    [(name, value)] = re.findall(r'<input type="hidden" name="(_\w+)" value="([^"]+)">', form[0])
    pressed = {name: value, "action": action}
    question = client.post(form[1], pressed)
    assert question.status_code == 200
    return client.post(form[1], pressed | versions_on(question) | {"reason": REASON}, follow=True)


def failed_login() -> AccessAttempt:
    made: AccessAttempt = AccessAttempt.objects.create(
        username="olga", ip_address="203.0.113.7", failures_since_start=5, attempt_time=timezone.now()
    )
    return made


def test_schedule_is_paused_resumed_and_run_from_its_page(operator: Client, sweep: Schedule) -> None:
    assert offered(operator, sweep) == {"pause": "Pause", "run_now": "Run now"}

    assert "Pause: sweep" in send(operator, sweep, "pause").content.decode()
    sweep.refresh_from_db()
    assert sweep.repeats == schedules.PAUSED
    assert offered(operator, sweep) == {"resume": "Resume"}
    send(operator, sweep, "resume")
    assert offered(operator, sweep) == {"pause": "Pause", "run_now": "Run now"}


def test_failed_login_is_unlocked_from_its_page(operator: Client) -> None:
    attempt = failed_login()
    assert offered(operator, attempt) == {"unlock": "Unlock"}

    assert "Unlocked: olga at 203.0.113.7." in send(operator, attempt, "unlock").content.decode()
    assert not AccessAttempt.objects.exists()


def test_foreign_schedule_offers_nothing_on_its_page(operator: Client) -> None:
    theirs = Schedule.objects.create(name="theirs", func="math.sqrt", schedule_type=Schedule.DAILY)

    assert offered(operator, theirs) == {}


@pytest.mark.parametrize(
    ("permission", "expected"),
    [
        ("opsconsole.pause_schedule", {"pause": "Pause"}),
        ("opsconsole.run_schedule", {"run_now": "Run now"}),
        (None, {}),
    ],
)
def test_page_offers_what_the_person_may_do(
    client: Client, sweep: Schedule, permission: str | None, expected: dict[str, str]
) -> None:
    vera = people.viewer()
    if permission:
        app, _, codename = permission.partition(".")
        vera.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client.force_login(User.objects.get(pk=vera.pk))

    assert offered(client, sweep) == expected


def test_each_list_with_actions_offers_them_on_the_pages_of_its_rows(operator: Client, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()
    shown = {}
    for model, page in admin.site._registry.items():
        # Pages of their own decide themselves: tests of jobs, letters, alerts and channels cover them.
        if page.actions and not isinstance(page, PageAdmin):
            rows = [row for row in model._default_manager.order_by("pk")[:30] if offered(operator, row)]
            shown[model._meta.label] = {name for row in rows for name in offered(operator, row)}

    assert len(shown) >= 5
    # Nobody in the scenery has a second factor, and the person in Slack and the identity are linked.
    not_to_be_seen = {"remove_second_factor", "link", "resume"}
    missing = {
        model._meta.label: wanted - shown[model._meta.label]
        for model, page in admin.site._registry.items()
        if model._meta.label in shown
        and (wanted := set(page.actions or ()) - not_to_be_seen) - shown[model._meta.label]
    }
    assert missing == {}
