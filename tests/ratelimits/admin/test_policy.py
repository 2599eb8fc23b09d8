"""Policies are edited while they hold: by whom, why, and within what bounds."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from ratelimits.records import recording
from tests import people

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


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(people.operator())
    return client


def change(name: str) -> str:
    return reverse("admin:ratelimits_policy_change", args=[Policy.objects.get(name=name).pk])


def test_the_presets_are_there_from_the_start() -> None:
    found = {policy.name: (policy.limit, policy.window_seconds) for policy in Policy.objects.all()}
    assert found == {
        "strict": (10, 60),
        "standard": (100, 60),
        "relaxed": (1_000, 60),
        "api-key": (10_000, 3_600),
        "login": (10, 60),
    }
    snapshot = policy_cache.current()
    assert snapshot.version is not None
    assert policy_cache._BUILT_IN.by_name.items() <= snapshot.by_name.items()


def test_an_edit_says_what_from_what_to_what_by_whom_and_why(operator: Client) -> None:
    answer = operator.post(change("standard"), FORM | {"limit": 50, "methods": "post, PUT"}, follow=True)
    assert answer.status_code == 200 and not answer.context.get("errors")
    policy = Policy.objects.get(name="standard")
    assert (policy.limit, policy.methods, policy.changed_by) == (50, ["POST", "PUT"], "olga")
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Limit: 100 to 50; Methods: none to POST, PUT. A quiet week."
    policy_cache._state.check_at = 0
    assert policy_cache.current().get("standard").limit == 50


def test_no_edit_without_a_reason(operator: Client) -> None:
    answer = operator.post(change("standard"), FORM | {"limit": 50, "reason": " "})
    assert "Give a reason" in answer.content.decode()
    assert Policy.objects.get(name="standard").limit == 100


def test_a_policy_is_added_and_its_name_stays(operator: Client) -> None:
    operator.post(ADD, FORM | {"name": "uploads", "path_prefixes": "/up/,/files/"})
    assert Policy.objects.get(name="uploads").path_prefixes == ["/up/", "/files/"]
    operator.post(change("uploads"), FORM | {"name": "other"})
    assert Policy.objects.filter(name="uploads").exists()
    policy_cache._state.check_at = 0
    assert [terms.name for terms in policy_cache.current().by_path] == ["login"]


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
def test_nonsense_is_refused_with_a_sentence(operator: Client, field: str, value: str, sentence: str) -> None:
    answer = operator.post(ADD, FORM | {"name": "new", field: value})
    assert sentence in answer.content.decode()
    assert not Policy.objects.exclude(changed_by="console").exists()


def test_nobody_deletes_a_policy(operator: Client) -> None:
    policy = Policy.objects.get(name="strict")
    assert operator.post(reverse("admin:ratelimits_policy_delete", args=[policy.pk])).status_code == 403


def test_a_viewer_sees_and_changes_nothing(client: Client) -> None:
    client.force_login(people.viewer())
    assert client.get(change("strict")).status_code == 200
    assert client.post(change("strict"), FORM).status_code == 403
    assert client.get(SWITCH).status_code == 200
    assert client.post(SWITCH, {"mode": "off", "reason": "x"}).status_code == 403
    assert LimiterControl.load().mode == "enforce"


def test_the_page_says_what_it_means_and_whom_it_limits(operator: Client) -> None:
    for outcome, hits in (("allowed", 100), ("limited", 20)):
        for _ in range(hits):
            recording.note("standard", "address:203.0.113.7", "/api", "GET", outcome)
    recording.flush()
    page = operator.get(change("standard")).content.decode()
    assert "Each API key, signed-in user or address may make 100 requests per minute" in page
    assert "no more than 100 in any window of 1 min." in page
    assert "about 1.1 kB in the store" in page
    assert '<td>address:203.0.113.7</td><td class="number">120</td>' in page


def test_the_switch_is_thrown_with_a_reason_and_shown_on_every_page(operator: Client) -> None:
    assert "Give a reason" in operator.post(SWITCH, {"mode": "shadow", "reason": ""}).content.decode()
    answer = operator.post(SWITCH, {"mode": "shadow", "reason": "The shop is down."}, follow=True)
    assert "Rate limits are in shadow mode" in answer.content.decode()
    control = LimiterControl.load()
    assert (control.mode, control.changed_by, control.reason) == ("shadow", "olga", "The shop is down.")
    assert "The shop is down." in LogEntry.objects.get().get_change_message()
    policy_cache._state.check_at = 0
    assert {terms.mode for terms in policy_cache.current().by_name.values()} == {"shadow"}
    assert "All rate limits are in shadow mode." in operator.get(LIST).content.decode()
    again = operator.post(SWITCH, {"mode": "shadow", "reason": "Again."}, follow=True)
    assert "the mode was shadow already" in again.content.decode()


def test_the_weaker_of_two_modes_holds() -> None:
    Policy.objects.filter(name="strict").update(mode="off")
    LimiterControl.objects.update(mode="shadow")
    modes = {name: terms.mode for name, terms in policy_cache.current().by_name.items()}
    assert modes == {
        "strict": "off",
        "standard": "shadow",
        "relaxed": "shadow",
        "api-key": "shadow",
        "login": "shadow",
    }
