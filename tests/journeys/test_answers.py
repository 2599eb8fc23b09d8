"""Browser tests of form pages at every screen size: reasons, errors and results."""

from __future__ import annotations

from base64 import b32decode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp
from django_q.models import Schedule
from playwright.sync_api import Page

from alerts.models import Alert
from jobs.models import BulkOperation
from opsconsole.sign_in import failures
from ratelimits.models import ApiKey
from tests.journeys import letters
from tests.journeys.scenery import STALE_JOB
from tests.journeys.screens import faults
from tests.journeys.visitor import Visitor
from tests.sending import versions_on

pytestmark = pytest.mark.django_db(transaction=True)

SEND = """([action, fields]) => {
    const form = document.createElement('form');
    form.method = 'post';
    form.action = action;
    form.append(document.querySelector('[name=csrfmiddlewaretoken]').cloneNode());
    for (const [name, value] of fields) {
        const field = document.createElement('input');
        [field.type, field.name, field.value] = ['hidden', name, value];
        form.append(field);
    }
    document.body.append(form);
    form.submit();
}"""


@pytest.fixture
def console(full_console: str) -> str:
    return full_console


def chosen(action: str, key: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": key}


def opened(path: str) -> dict[str, str]:
    """Return the versions that the forms of a page carry."""
    client = Client()
    client.force_login(User.objects.get(username="olga"))
    return versions_on(client.get(f"/admin/{path}", follow=True))


def questions() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the pages on which list actions ask for input, and previews: title, URL, and form data."""
    return {
        "Pause?": ("django_q/schedule/", chosen("pause", Schedule.objects.earliest("pk").pk)),
        "Unlock logins": ("axes/accessattempt/", chosen("unlock", AccessAttempt.objects.get().pk)),
        "Remove the second factor?": ("auth/user/", chosen("remove_second_factor", User.objects.all()[0].pk)),
        "Revoke API keys?": (
            "ratelimits/apikey/",
            chosen("revoke_selected", ApiKey.objects.get(name="crm").pk),
        ),
        "Forget monitors?": ("alerts/monitor/", chosen("forget", "sweep")),
        "Requeue 1 job?": ("jobs/job/", chosen("requeue_selected", STALE_JOB)),
        "Snooze 1 alert?": ("alerts/alert/", chosen("snooze_selected", Alert.objects.open()[0].pk)),
        "Arm recovery?": (
            "jobs/recoverycontrol/",
            {"decision": "preview", "arm-scope": "all", "arm-reason": "all were read"}
            | opened("jobs/recoverycontrol/"),
        ),
        "Edit and replay": (
            f"jobs/deadletter/{letters.FOREIGN}/edit/",
            {"body": '{"order": 4218, "business": "Café Blüte"}', "reason": "its name is too long"}
            | opened(f"jobs/deadletter/{letters.FOREIGN}/edit/"),
        ),
    }


def complaints() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return forms with missing fields."""
    preview = BulkOperation.objects.filter(state=BulkOperation.State.PREVIEW).latest("pk").pk
    return {
        "Password change": ("password_change/", {}),
        "Add user": ("auth/user/add/", {}),
        "Add role": ("auth/group/add/", {}),
        "Add policy": ("ratelimits/policy/add/", {}),
        "Create API key": ("ratelimits/apikey/make/", {}),
        "Limiter": ("ratelimits/limitercontrol/", opened("ratelimits/limitercontrol/")),
        "Controls": (
            "opsconsole/pause/",
            {"name": "recovery", "decision": "resume"} | opened("opsconsole/pause/"),
        ),
        "Recovery": ("jobs/recoverycontrol/", {"decision": "preview"} | opened("jobs/recoverycontrol/")),
        "Many stale jobs in a day": (
            "alerts/rule/stale_jobs_day/edit/",
            opened("alerts/rule/stale_jobs_day/edit/"),
        ),
        "Requeue": (
            f"jobs/bulkoperation/{preview}/decide/begin/",
            opened(f"jobs/bulkoperation/{preview}/change/"),
        ),
        "Nothing was done": ("jobs/deadletter/operate/replay/", {"plan": "of yesterday", "reason": "x"}),
    }


def results() -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "API key created": (
            "ratelimits/apikey/make/",
            {
                "key_id": "1b671a64-40d5-491e-99b0-da01ff1f3341",
                "name": "shop",
                "scopes": "jobs:write",
                "policy": "api-key",
                "reason": "it goes live",
            },
        ),
    }


def ask(visitor: Visitor, page: Page, path: str, fields: dict[str, Any]) -> None:
    page.goto(f"{visitor.address}/admin/")
    with page.expect_navigation():
        page.evaluate(SEND, [f"/admin/{path}", [list(pair) for pair in parse_qsl(urlencode(fields))]])


@pytest.mark.parametrize("asked", [questions, complaints, results])
def test_form_pages(visitor: Visitor, asked: Callable[[], dict[str, tuple[str, dict[str, Any]]]]) -> None:
    visitor.expected = "status of 400"
    page = visitor.log_in("olga")
    found = []
    for title, (path, fields) in asked().items():
        ask(visitor, page, path, fields)
        assert title in page.title(), path
        found += [f"{title}: {line}" for line in faults(visitor, page)]
    assert found == [], "\n".join(found)


def test_result_pages(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    found = []
    for preview in (
        f"jobs/job/operate/requeue/?id={STALE_JOB}&id={letters.job_of(letters.CAME_BACK)}",
        f"jobs/deadletter/operate/replay/?id={letters.FOREIGN}&id={letters.CAME_BACK}",
    ):
        page.goto(f"{visitor.address}/admin/{preview}")
        page.get_by_label("Reason").fill("the directory answers again")
        page.locator(".buttons button.operation").click()
        page.wait_for_load_state()
        assert "?" not in page.title(), page.title()
        found += [f"{preview}: {line}" for line in faults(visitor, page)]
    assert found == [], "\n".join(found)


def test_second_factor_pages(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    page.goto(visitor.address + reverse("second_factor"))
    key = b32decode("".join(page.locator("main code, #content code").first.inner_text().split()))
    page.get_by_label("Code").fill(f"{totp(key):06}")
    page.locator(".buttons button.operation").click()
    page.wait_for_load_state()
    assert "Backup codes" in page.title()
    found = faults(visitor, page)
    page.goto(visitor.address + reverse("second_factor"))
    found += faults(visitor, page)
    again = visitor.log_in("olga")
    assert reverse("second_factor_prove") in again.url
    found += faults(visitor, again)
    assert found == [], "\n".join(found)


def test_lockout_page(visitor: Visitor, settings: Any) -> None:
    AccessAttempt.objects.create(
        username="olga",
        ip_address="127.0.0.1",
        user_agent=failures.source_of(failures.PASSWORD, "olga", "127.0.0.1").kind,
        failures_since_start=settings.AXES_FAILURE_LIMIT,
        attempt_time=Now(),
    )
    visitor.expected = "status of 429"
    page = visitor.log_in_with_the_form("olga")

    assert "Locked out" in page.title()
    assert faults(visitor, page) == []
