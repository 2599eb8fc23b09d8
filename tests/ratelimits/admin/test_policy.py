"""The pages of policies and of the limiter: edits, validation, permissions and the audit log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from opsconsole.kit import audit
from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from ratelimits.records import recording
from tests import people
from tests.sending import send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("live_policies")]

LIST = reverse("admin:ratelimits_policy_changelist")
ADD = reverse("admin:ratelimits_policy_add")
SWITCH = reverse("admin:ratelimits_limitercontrol_changelist")
FORM: dict[str, Any] = {
    "limit": 100,
    "window_seconds": 60,
    "mode": "enforce",
    "path_prefixes": "",
    "methods": "",
    "position": 20,
    "key": "default",
    "allow_networks": "",
    "deny_networks": "",
    "algorithm": "moving",
    "when_store_is_away": "local",
    "reason": "A quiet week.",
}


def change(name: str) -> str:
    return reverse("admin:ratelimits_policy_change", args=[Policy.objects.get(name=name).pk])


def test_migrations_create_the_presets() -> None:
    limits = {policy.name: (policy.limit, policy.window_seconds) for policy in Policy.objects.all()}
    assert limits == {
        "strict": (10, 60),
        "standard": (100, 60),
        "relaxed": (1_000, 60),
        "api-key": (10_000, 3_600),
        "limits-check": (6_000, 60),
    }
    snapshot = policy_cache.current()
    assert snapshot.version is not None
    assert policy_cache._BUILT_IN.by_name.items() <= snapshot.by_name.items()


def test_edit_is_logged_with_values_user_and_reason(operator: Client) -> None:
    response = send(operator, change("standard"), FORM | {"limit": 50, "methods": "post, PUT"}, follow=True)
    assert response.status_code == 200 and not response.context.get("errors")
    policy = Policy.objects.get(name="standard")
    assert (policy.limit, policy.methods, policy.changed_by) == (50, ["POST", "PUT"], "olga")
    entry = LogEntry.objects.get()
    assert audit.parts_of(entry) == audit.AuditParts(
        "Limit: 100 to 50; Methods: none to POST, PUT.", "A quiet week."
    )
    policy_cache._state.check_at = 0
    assert policy_cache.current().get("standard").limit == 50


def test_edit_needs_a_reason(operator: Client) -> None:
    response = send(operator, change("standard"), FORM | {"limit": 50, "reason": " "})
    assert "Give a reason" in response.content.decode()
    assert Policy.objects.get(name="standard").limit == 100


def test_policy_is_added_and_keeps_its_name(operator: Client) -> None:
    operator.post(ADD, FORM | {"name": "uploads", "path_prefixes": "/up/,/files/"})
    assert Policy.objects.get(name="uploads").path_prefixes == ["/up/", "/files/"]
    send(operator, change("uploads"), FORM | {"name": "other"})
    assert Policy.objects.filter(name="uploads").exists()
    policy_cache._state.check_at = 0
    assert [policy.name for policy in policy_cache.current().by_path] == []


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "Has Blanks", "lowercase letters, digits and hyphens"),
        ("limit", "0", "Enter a limit from 1 to"),
        ("limit", "20001", "For a limit above 20,000, choose the sliding counter"),
        ("window_seconds", "0", "Enter a window from 1 to"),
        ("window_seconds", "2592001", "Enter a window from 1 to"),
        ("path_prefixes", "api/", "A path starts with a slash"),
        ("methods", "FETCH", "is not a method"),
        ("allow_networks", "10.0.0.1/8", "is not a network"),
        ("deny_networks", "everybody", "is not a network"),
    ],
)
def test_invalid_value_is_refused_with_an_error_message(
    operator: Client, field: str, value: str, sentence: str
) -> None:
    response = operator.post(ADD, FORM | {"name": "new", field: value})
    assert sentence in response.content.decode()
    assert not Policy.objects.exclude(changed_by="console").exists()


def test_policy_cannot_be_deleted(operator: Client) -> None:
    policy = Policy.objects.get(name="strict")
    assert operator.post(reverse("admin:ratelimits_policy_delete", args=[policy.pk])).status_code == 403


def test_viewer_can_see_but_not_change_policies(client: Client) -> None:
    client.force_login(people.viewer())
    assert client.get(change("strict")).status_code == 200
    assert client.post(change("strict"), FORM).status_code == 403
    assert client.get(SWITCH).status_code == 200
    assert client.post(SWITCH, {"mode": "off", "reason": "x"}).status_code == 403
    assert LimiterControl.load().mode == "enforce"


def test_page_describes_the_policy_and_lists_its_busiest_clients(operator: Client) -> None:
    for outcome, hits in (("allowed", 100), ("limited", 20)):
        for _ in range(hits):
            recording.note("standard", "address:203.0.113.7", "/api", "GET", outcome)
    recording.flush()
    page = operator.get(change("standard")).content.decode()
    assert "Each API key, signed-in user or address may make 100 requests per minute" in page
    assert "no more than 100 in any window of 1 min." in page
    assert "about 1.1 kB in the store" in page
    assert '<td>address:203.0.113.7</td><td class="number">120</td>' in page
    counted = re.search(r'<a href="([^"]+)">Show the routes that it counted</a>', page)
    assert counted and "GET /api" in operator.get(counted[1]).text
    assert "Show the routes" not in operator.get(reverse("admin:ratelimits_policy_add")).text


def test_mode_change_needs_a_reason_and_is_shown_on_every_page(operator: Client) -> None:
    assert "Give a reason" in send(operator, SWITCH, {"mode": "shadow", "reason": ""}).content.decode()
    response = send(operator, SWITCH, {"mode": "shadow", "reason": "The shop is down."}, follow=True)
    assert "Rate limits are in shadow mode" in response.content.decode()
    control = LimiterControl.load()
    assert (control.mode, control.changed_by, control.reason) == ("shadow", "olga", "The shop is down.")
    assert audit.parts_of(LogEntry.objects.get()).why == "The shop is down."
    policy_cache._state.check_at = 0
    assert {policy.mode for policy in policy_cache.current().by_name.values()} == {"shadow"}
    assert "All rate limits are in shadow mode." in operator.get(LIST).content.decode()
    again = send(operator, SWITCH, {"mode": "shadow", "reason": "Again."}, follow=True)
    assert "the mode was shadow already" in again.content.decode()


def test_weaker_of_two_modes_applies() -> None:
    Policy.objects.filter(name="strict").update(mode="off")
    LimiterControl.objects.update(mode="shadow")
    modes = {name: policy.mode for name, policy in policy_cache.current().by_name.items()}
    assert modes == {
        "strict": "off",
        "standard": "shadow",
        "relaxed": "shadow",
        "api-key": "shadow",
        "limits-check": "shadow",
    }
