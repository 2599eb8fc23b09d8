"""The pages of API keys: creation, the one display of a key, and revocation."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, RequestFactory
from django.urls import reverse

from opsconsole.kit import audit
from ratelimits.admin import keys
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests import people
from tests.keys import key
from tests.sending import versions_on

pytestmark = pytest.mark.django_db

LIST = reverse("admin:ratelimits_apikey_changelist")
MAKE = reverse("admin:ratelimits_apikey_make")


def form_fields(**fields: Any) -> dict[str, Any]:
    return {
        "key_id": str(uuid4()),
        "name": "shop, production",
        "scopes": ["jobs:write"],
        "policy": "api-key",
        "expires_on": "",
        "reason": "the new shop goes live",
    } | fields


def key_shown_on(page: str) -> str:
    match = re.search(r'<code id="secret">(ock_\w+)</code>', page)
    assert match, page
    return match[1]


def authenticate(text: str) -> ApiKey | None:
    return api_keys.authenticate(RequestFactory().get("/", headers={"X-API-Key": text}))


@pytest.mark.parametrize("scope", keys.LISTS)
def test_page_of_a_new_key_names_a_request_that_proves_it(operator: Client, scope: str) -> None:
    page = operator.post(MAKE, form_fields(scopes=["worker", scope])).text

    [(url, text)] = re.findall(r'curl (http://\S+) -H "Authorization: Bearer (ock_\w+)', page)

    assert Client().get(url, headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_new_key_is_shown_once_and_works(operator: Client) -> None:
    response = operator.post(MAKE, form_fields())
    text = key_shown_on(response.content.decode())

    api_key = authenticate(text)
    assert api_key is not None
    assert (api_key.name, api_key.scopes, api_key.policy) == ("shop, production", ["jobs:write"], "api-key")
    assert (api_key.created_by, api_key.reason, api_key.expires_at) == (
        "olga",
        "the new shop goes live",
        None,
    )
    assert "no-store" in response.headers["Cache-Control"]
    # Nothing can be read with it, so no address is named.
    assert f"Authorization: Bearer {text}" in response.text and "curl" not in response.text
    assert audit.parts_of(LogEntry.objects.get()) == audit.AuditParts("Created.", "the new shop goes live")
    for page in (LIST, reverse("admin:ratelimits_apikey_change", args=[api_key.pk])):
        html = operator.get(page).content.decode()
        assert text not in html and text[4:-4] not in html
        assert f"…{text[-4:]}" in html


def test_form_submitted_twice_creates_one_key(operator: Client) -> None:
    form = form_fields()
    operator.post(MAKE, form)

    again = operator.post(MAKE, form | {"name": "another"})

    assert "already created a key" in again.content.decode()
    assert "ock_" not in again.content.decode()
    assert ApiKey.objects.count() == 1


def test_each_form_has_its_own_key_id(operator: Client) -> None:
    first, second = (
        re.findall(r'name="key_id" value="([^"]+)"', operator.get(MAKE).content.decode()) for _ in range(2)
    )
    assert len(first) == 1 and first != second


def test_key_is_valid_until_the_end_of_its_last_day(operator: Client) -> None:
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    operator.post(MAKE, form_fields(expires_on=day.isoformat()))

    expires = ApiKey.objects.get().expires_at
    assert expires is not None
    assert expires.isoformat().startswith(f"{day.isoformat()}T23:59:59")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": ""}, "This field is required."),
        ({"scopes": []}, "Choose at least one scope."),
        ({"scopes": ["everything"]}, "Select a valid choice"),
        ({"policy": "fast"}, "Select a valid choice"),
        ({"reason": "  "}, "Give a reason: it is kept with the key."),
        ({"expires_on": "2001-01-01"}, "Enter a day within the next five years"),
        ({"expires_on": "9999-12-31"}, "Enter a day within the next five years"),
    ],
)
def test_invalid_form_shows_an_error_and_creates_no_key(
    operator: Client, fields: dict[str, Any], sentence: str
) -> None:
    response = operator.post(MAKE, form_fields(**fields))

    assert sentence in response.content.decode()
    assert not ApiKey.objects.exists()


def test_two_valid_keys_cannot_share_a_name(operator: Client) -> None:
    operator.post(MAKE, form_fields())

    response = operator.post(MAKE, form_fields())

    assert "a key named &#x27;shop, production&#x27; exists" in response.content.decode()
    assert ApiKey.objects.count() == 1


def test_operator_revokes_a_key_with_a_reason(operator: Client) -> None:
    api_key, text = key()
    assert authenticate(text) == api_key
    selection = {"action": "revoke_selected", "_selected_action": [str(api_key.pk)]}

    confirmation = operator.post(LIST, selection)
    assert "Revoke 1 key" in confirmation.content.decode()
    assert authenticate(text) == api_key
    operator.post(LIST, selection | versions_on(confirmation) | {"reason": "found in a log"})

    assert authenticate(text) is None
    stored = ApiKey.objects.get()
    assert (stored.revoked_by, stored.revoke_reason) == ("olga", "found in a log")
    assert audit.parts_of(LogEntry.objects.get()) == audit.AuditParts("Revoked.", "found in a log")
    again = operator.post(LIST, selection | {"reason": "again"}, follow=True).content.decode()
    assert "the selected keys were revoked before" in again


def test_creating_and_revoking_need_separate_permissions(client: Client) -> None:
    api_key, _ = key()
    change = reverse("admin:ratelimits_apikey_change", args=[api_key.pk])
    revoke = {"action": "revoke_selected", "_selected_action": [str(api_key.pk)]}

    client.force_login(people.allowed("add_apikey", name="maker"))
    assert client.get(MAKE).status_code == 200
    assert "Create API key" in client.get(LIST).content.decode()
    assert "revoke_selected" not in client.get(change).content.decode()
    client.post(LIST, revoke | versions_on(client.post(LIST, revoke)) | {"reason": "x"})
    assert ApiKey.objects.get().revoked_at is None

    client.force_login(people.allowed("revoke_apikey", name="revoker"))
    assert "revoke_selected" in client.get(change).content.decode()
    assert client.get(MAKE).status_code == client.post(MAKE, form_fields()).status_code == 403
    assert "Create API key" not in client.get(LIST).content.decode()
    client.post(LIST, revoke | versions_on(client.post(LIST, revoke)) | {"reason": "x"})
    assert ApiKey.objects.get().revoked_at is not None


def test_key_may_free_clients_only_if_its_maker_may(client: Client) -> None:
    client.force_login(people.allowed("add_apikey"))
    assert "limits:free" not in client.get(MAKE).content.decode()
    client.post(MAKE, form_fields(scopes=["limits:check", "limits:free"]))
    assert not ApiKey.objects.exists()

    client.force_login(people.allowed("add_apikey", "free_client", name="pia"))
    client.post(MAKE, form_fields(scopes=["limits:check", "limits:free"]))
    assert ApiKey.objects.get().scopes == ["limits:check", "limits:free"]


def test_key_for_operators_acts_for_its_maker_and_does_no_more(client: Client) -> None:
    maker = people.allowed("add_apikey", "cancel_job")
    client.force_login(maker)
    page = client.get(MAKE).content.decode()
    assert "jobs:read" in page and "jobs:operate" in page and "alerts:operate" not in page
    client.post(MAKE, form_fields(scopes=["alerts:operate"]))
    assert not ApiKey.objects.exists()

    client.post(MAKE, form_fields(scopes=["jobs:operate"]))

    made = ApiKey.objects.get()
    assert made.maker == maker
    assert made.permissions == ["jobs.cancel_job", "jobs.view_bulkoperation", "jobs.view_job"]
    detail = client.get(reverse("admin:ratelimits_apikey_change", args=[made.pk])).content.decode()
    assert "paul" in detail and "Cancel a job, View bulk operations, View jobs" in detail
    assert "Requeue, cancel and release jobs <code>jobs:operate</code>" in detail
    assert "jobs.cancel_job" not in detail


def test_key_for_programs_has_no_permissions(operator: Client) -> None:
    operator.post(MAKE, form_fields(scopes=["jobs:write", "worker"]))

    assert ApiKey.objects.get().permissions == []


def test_viewer_can_neither_create_nor_revoke_keys(client: Client) -> None:
    api_key, _ = key()
    client.force_login(people.viewer())

    assert client.post(MAKE, form_fields()).status_code == 403
    client.post(
        LIST, {"action": "revoke_selected", "_selected_action": [str(api_key.pk)], "reason": "x"}, follow=True
    )
    assert ApiKey.objects.get().revoked_at is None


def test_keys_are_filtered_by_state(operator: Client) -> None:
    key("valid")
    key("old", expires_at=datetime.now(UTC) - timedelta(days=1))
    api_keys.revoke(key("gone")[0].pk, by="olga", reason="x")

    for state, name in (("valid", "valid"), ("expired", "old"), ("revoked", "gone")):
        rows = operator.get(LIST, {"state": state}).context["cl"].result_list
        assert [row.name for row in rows] == [name]
        assert state.capitalize() in operator.get(LIST).content.decode()
