"""Tests of the sentence that stands in place of the buttons that a page leaves out."""

from __future__ import annotations

import io

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from opsconsole.sign_in import look_only, roles
from tests import factories, people

pytestmark = pytest.mark.django_db
EVERY = [duty for duties in look_only.BUTTONS.values() for duty in duties]


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


def member(role: str) -> User:
    user = User.objects.create_user(role.lower(), password=people.PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def test_table_names_pages_and_permissions_that_exist() -> None:
    rows = Permission.objects.select_related("content_type")
    every = {f"{row.content_type.app_label}.{row.codename}" for row in rows}

    assert {name for _, names in EVERY for name in names} <= every
    for label in look_only.BUTTONS:
        assert admin.site.is_registered(apps.get_model(label)), label


@pytest.mark.parametrize("page", look_only.BUTTONS)
def test_whoever_is_named_is_told_nothing(page: str) -> None:
    named = look_only.sentence(member(roles.VIEWER), page)
    assert named.startswith(look_only.LOOK_ONLY)
    operator, administrator = member(roles.OPERATOR), member(roles.ADMINISTRATOR)

    assert f"the role {roles.OPERATOR}" not in look_only.sentence(operator, page)
    assert (look_only.sentence(operator, page) == "") == (f"the role {roles.ADMINISTRATOR}" not in named)
    assert look_only.sentence(administrator, page) == ""


@pytest.mark.parametrize(
    "page",
    [
        "jobs_job_changelist",
        "jobs_deadletter_changelist",
        "jobs_recoverycontrol_changelist",
        "alerts_alert_changelist",
        "alerts_channel_changelist",
        "opsconsole_pause_changelist",
        "django_q_schedule_changelist",
        "ratelimits_limitercontrol_changelist",
        "ratelimits_policy_changelist",
        "ratelimits_apikey_changelist",
    ],
)
def test_pages_say_it_to_a_viewer_alone(client: Client, page: str) -> None:
    address = reverse(f"admin:{page}")
    client.force_login(member(roles.VIEWER))
    assert client.get(address).content.decode().count(look_only.LOOK_ONLY) == 1

    client.force_login(member(roles.ADMINISTRATOR))
    assert "you need the role" not in client.get(address).content.decode()


def test_pages_of_rows_say_it_too(client: Client) -> None:
    client.force_login(member(roles.VIEWER))
    job, letter = factories.job(), factories.dead_letter()

    for name, row, button in (("jobs_job", job, "requeue"), ("jobs_deadletter", letter, "replay")):
        page = client.get(reverse(f"admin:{name}_change", args=[row.pk])).content.decode()
        assert f"{look_only.LOOK_ONLY} To {button}" in page


def test_single_permissions_count() -> None:
    assert look_only.sentence(people.allowed("requeue_job"), "jobs.job") == ""
    told = look_only.sentence(people.allowed("test_channel", name="tess"), "alerts.channel")
    assert told.startswith("To add, route, mute or remove channels, you need the role Administrator")
