"""Versions of forms: what a conflict says, what stays entered, and that two who send at once can't both win."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from jobs.models import RecoveryControl
from opsconsole.kit import audit, form_versions, pauses
from opsconsole.kit.models import Pause
from ratelimits.models import LimiterControl, Policy
from tests import people, presets
from tests.opsconsole import forms
from tests.opsconsole.forms import Fields
from tests.racing import race

LIMITER = reverse("admin:ratelimits_limitercontrol_changelist")
SWITCHES = reverse("admin:opsconsole_pause_changelist")


def signed_in(name: str) -> Client:
    client = Client()
    client.force_login(people.operator(name))
    return client


def opened(client: Client, address: str, marker: str) -> Fields:
    """Return the entries of the form with this field, as a browser would send them back unchanged."""
    page = client.get(address).content.decode()
    (form,) = (each for each in forms.on(address, page) if marker in each.fields)
    return {name: list(values) for name, values in form.fields.items()}


def policy_form(client: Client, policy: Policy, **changes: str) -> Fields:
    entries = opened(client, page_of(policy), "deny_networks")
    present = {
        name: [str(policy.serializable_value(name))]
        for name in ("limit", "window_seconds", "mode", "key", "algorithm", "when_store_is_away", "position")
    }
    changed = {name: [value] for name, value in changes.items()}
    return {**entries, **present, "reason": ["because"], **changed}


def status(client: Client, address: str, entries: Fields) -> int:
    return client.post(address, entries).status_code


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


@pytest.fixture
def strict(db: None) -> Policy:
    presets.write()
    return Policy.objects.get(name="strict")


def test_deny_list_of_another_operator_survives_an_older_form(strict: Policy) -> None:
    ann, ben = signed_in("ann"), signed_in("ben")
    older = policy_form(ben, strict, limit="12")
    ann.post(page_of(strict), policy_form(ann, strict, deny_networks="203.0.113.0/24"))

    answer = ben.post(page_of(strict), older)

    strict.refresh_from_db()
    assert (strict.deny_networks, strict.limit) == (["203.0.113.0/24"], 10)
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "Nothing was saved. ann changed this after you opened the page." in page
    assert LogEntry.objects.count() == 1
    # What ben entered stays, what he left alone is what ann made of it.
    found = {each.name: each for each in answer.context["adminform"].form.conflict.differences}
    assert set(found) == {"deny_networks"}
    assert (found["deny_networks"].was, found["deny_networks"].now) == ("none", "203.0.113.0/24")
    assert 'name="limit" value="12"' in page and 'name="deny_networks" value="203.0.113.0/24"' in page

    # Having read that, he sends the form that he was given.
    (form,) = (each for each in forms.on(page_of(strict), page) if "deny_networks" in each.fields)
    again = {
        **form.fields,
        "limit": ["12"],
        "window_seconds": ["60"],
        "position": ["10"],
        "mode": ["enforce"],
    }
    assert (
        ben.post(page_of(strict), again | {"key": ["default"], "when_store_is_away": ["local"]}).status_code
        == 302
    )
    strict.refresh_from_db()
    assert (strict.deny_networks, strict.limit) == (["203.0.113.0/24"], 12)
    said = LogEntry.objects.latest("pk").get_change_message()
    assert "Limit: 10 to 12" in said and "Deny" not in said


def test_audit_says_what_differs_in_the_database_not_in_the_form(strict: Policy) -> None:
    ann = signed_in("ann")
    entries = policy_form(ann, strict, limit="12")

    ann.post(
        page_of(strict),
        entries | {"initial-limit": ["99"], "deny_networks": ["203.0.113.0/24, 198.51.100.7"]},
    )

    said = audit.parts_of(LogEntry.objects.get())
    assert said.did == "Limit: 10 to 12; Deny networks: none to 203.0.113.0/24, 198.51.100.7."
    assert said.why == "because"


@pytest.mark.parametrize("version", [None, "", "forged", "of another"])
def test_form_without_its_version_is_refused_with_a_sentence(strict: Policy, version: str | None) -> None:
    ann = signed_in("ann")
    entries = policy_form(ann, strict, limit="12")
    if version == "of another":
        version = policy_form(ann, Policy.objects.get(name="relaxed"))["version"][0]
    del entries["version"]

    answer = ann.post(page_of(strict), entries if version is None else entries | {"version": [version]})

    strict.refresh_from_db()
    assert (answer.status_code, strict.limit) == (409, 10)
    assert "does not say which version it was opened with" in answer.content.decode()
    assert not LogEntry.objects.exists()


def test_roles_and_permissions_are_part_of_the_version(db: None) -> None:
    ann, ben = signed_in("ann"), signed_in("ben")
    vera, role = people.viewer(), Group.objects.create(name="Night shift")
    older = opened(ben, page_of(vera), "username")
    vera.groups.add(role)

    answer = ben.post(page_of(vera), older | {"first_name": ["Vera"], "groups": []})

    assert answer.status_code == 409
    assert list(vera.groups.all()) == [role] and User.objects.get(pk=vera.pk).first_name == ""
    (difference,) = answer.context["adminform"].form.conflict.differences
    assert (difference.name, difference.now) == ("groups", "Night shift")
    assert "The audit does not say by whom" in answer.content.decode()
    assert ann.get(page_of(vera)).status_code == 200


def test_role_is_deleted_only_as_it_was_shown(db: None) -> None:
    ann, role = signed_in("ann"), Group.objects.create(name="Night shift")
    address = reverse("admin:auth_group_delete", args=[role.pk])
    older = opened(ann, address, "post")
    role.permissions.add(Permission.objects.earliest("pk"))

    answer = ann.post(address, older)

    assert answer.status_code == 409 and "Nothing was saved. This was changed" in answer.content.decode()
    assert Group.objects.filter(pk=role.pk).exists()
    # What ties it to its permissions has no name of its own, and is only counted.
    assert "Group_permissions object" not in answer.content.decode()
    ann.post(address, opened(ann, address, "post") | {"reason": "no night shift"})
    assert not Group.objects.filter(pk=role.pk).exists()


def test_role_is_not_deleted_with_members_that_the_page_did_not_show(db: None) -> None:
    ann, role, vera = signed_in("ann"), Group.objects.create(name="Night shift"), people.viewer()
    address = reverse("admin:auth_group_delete", args=[role.pk])
    older = opened(ann, address, "post")
    vera.groups.add(role)

    assert ann.post(address, older).status_code == 409
    assert list(vera.groups.all()) == [role]


def test_conflict_names_who_changed_it_not_who_logged_in(db: None) -> None:
    vera = people.viewer()
    before = form_versions.of_row(vera, ["first_name"])
    token, decided = before.token(), form_versions.last_change(vera)
    audit.log(vera, [vera], audit.LOGGED_IN, why=audit.NOT_ASKED)
    audit.log_download(vera, "something")
    assert form_versions.last_change(vera) == decided

    User.objects.filter(pk=vera.pk).update(first_name="Vera")
    audit.log_command("ann", [vera], "Renamed.", why="because")
    audit.log(vera, [vera], audit.LOGGED_OUT, why=audit.NOT_ASKED)
    vera.refresh_from_db()
    found = form_versions.conflict(form_versions.of_row(vera, ["first_name"]), token)

    assert found and [line.change_message for line in found.changes] == ["Renamed."]
    assert "ann, as " in found.sentence and "(command) changed this" in found.sentence


def test_secrets_do_not_travel_in_a_version(db: None) -> None:
    ann, vera = signed_in("ann"), people.viewer()
    page = ann.get(reverse("admin:auth_user_password_change", args=[vera.pk])).content.decode()
    (form,) = (each for each in forms.on("/", page) if "password1" in each.fields)
    from django.core import signing

    _, values, _ = signing.loads(form.fields["version"][0], salt=form_versions.SALT)
    assert values["password"][0] == form_versions.HIDDEN
    assert vera.password not in str(values)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_send_at_once_one_is_refused() -> None:
    presets.write()
    RecoveryControl.objects.get_or_create(pk=1)
    strict = Policy.objects.get(name="strict")
    clients = [signed_in(name) for name in ("ann", "ben", "cem")]
    changes = [{"limit": "11"}, {"deny_networks": "203.0.113.0/24"}, {"methods": "POST"}]
    ready = [policy_form(client, strict, **change) for client, change in zip(clients, changes, strict=True)]

    answers = race(
        [
            partial(status, client, page_of(strict), entries)
            for client, entries in zip(clients, ready, strict=True)
        ]
    )

    assert sorted(answers) == [302, 409, 409]
    strict.refresh_from_db()
    changed = [strict.limit != 10, bool(strict.deny_networks), bool(strict.methods)]
    assert changed == [answer == 302 for answer in answers]
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_decisions_at_once_one_is_refused() -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    LimiterControl.objects.update_or_create(pk=1, defaults={"mode": "enforce"})
    clients = [signed_in(name) for name in ("ann", "ben")]
    ready = [opened(client, LIMITER, "mode") | {"reason": ["x"]} for client in clients]
    switches = [opened(client, SWITCHES, "recovery-reason") for client in clients]

    modes = race(
        [
            partial(status, client, LIMITER, entries | {"mode": [mode]})
            for client, entries, mode in zip(clients, ready, ("shadow", "off"), strict=True)
        ]
    )
    paused = race(
        [
            partial(status, client, SWITCHES, entries | {"recovery-reason": ["x"]})
            for client, entries in zip(clients, switches, strict=True)
        ]
    )

    assert sorted(modes) == [302, 409]
    assert LimiterControl.load().mode == ("shadow", "off")[modes.index(302)]
    assert sorted(paused) == [302, 409]
    assert Pause.objects.filter(name=pauses.RECOVERY).count() == 1
    assert LogEntry.objects.filter(object_repr__startswith="pause").count() == 1
